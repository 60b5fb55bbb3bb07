package hostile

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	yaml "github.com/pb33f/go-yaml"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// wanted says which tokens open a call. It is written down here as well as in openapi.yaml, so that a call that is opened by
// mistake in one place is noticed.
func wanted() map[string][]string {
	user, agent, both, owner, open := []string{"jobToken"}, []string{"agentToken"}, []string{"jobToken", "agentToken"},
		[]string{"ownerToken"}, []string{}
	const upload = "PUT /artifacts/{jobID}/upload/"
	return map[string][]string{
		"GET /api/v1/jobs": open, "POST /api/v1/jobs": open, "GET /api/v1/templates": open, "GET /healthz": open,
		"GET /openapi.yaml": open, "GET /api/v1/server": open,
		"OPTIONS /events": {"", "ownerToken"},
		"POST /events":    {"", "ownerToken"}, "PUT /api/v1/templates/{name}": {"", "ownerToken"},
		"GET /api/v1/jobs/{jobID}": user, "DELETE /api/v1/jobs/{jobID}": user, "GET /api/v1/jobs/{jobID}/events": user,
		"POST /api/v1/jobs/{jobID}/cancel": user,
		"GET /api/v1/jobs/{jobID}/logs":    user, "GET /outputs/{jobID}": user, "HEAD /outputs/{jobID}": user,
		"GET /outputs/{jobID}/{filename}": user, "HEAD /outputs/{jobID}/{filename}": user,
		"GET /artifacts/{jobID}/{filename}": both, "HEAD /artifacts/{jobID}/{filename}": both,
		"GET /artifacts/{jobID}/index.json":  both,
		"GET /artifacts/{jobID}/status.json": agent, "GET /artifacts/{jobID}/results": agent,
		upload + "{filename}": agent, upload + ".job/attempts/next/start": agent,
		upload + ".job/attempts/{number}/end":    agent,
		upload + ".job/attempts/{number}/report": agent, upload + ".job/log/{segment}": agent,
		upload + ".job/outputs.json": agent, upload + ".job/link": agent, upload + ".job/order": agent,
		"GET /api/v1/jobs/{jobID}/token": owner, "GET /api/v1/templates/{name}": owner,
		"DELETE /api/v1/templates/{name}":    owner,
		"POST /api/v1/templates/{name}/jobs": owner,
	}
}

// route is one call of the description that the server gives of itself.
type route struct {
	method, path string
	tokens       []string // that open it; "" is none at all
}

func (r route) name() string { return r.method + " " + r.path }

func (r route) open() bool { return len(r.tokens) == 0 || slices.Contains(r.tokens, "") }

// routes reads the calls there are from the server itself, so that a new one is attacked without a word here.
func routes(g *group) []route {
	g.Helper()
	a := g.server.must(g.T, http.StatusOK, get("/openapi.yaml"), nil)
	var document struct {
		Paths    map[string]map[string]yaml.Node `yaml:"paths"`
		Security []map[string][]string           `yaml:"security"`
	}
	if err := yaml.Unmarshal(a.body, &document); err != nil {
		g.Fatalf("openapi.yaml: %v", err)
	}
	var list []route
	for path, item := range document.Paths {
		for method, node := range item {
			if method == "parameters" {
				continue
			}
			var operation struct {
				Security *[]map[string][]string `yaml:"security"`
			}
			if err := node.Decode(&operation); err != nil {
				g.Fatalf("openapi.yaml: %s %s: %v", method, path, err)
			}
			if operation.Security == nil {
				operation.Security = &document.Security
			}
			r := route{method: strings.ToUpper(method), path: path, tokens: []string{}}
			for _, alternative := range *operation.Security {
				if len(alternative) == 0 {
					r.tokens = append(r.tokens, "")
				}
				for scheme := range alternative {
					r.tokens = append(r.tokens, scheme)
				}
			}
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b route) int { return strings.Compare(a.name(), b.name()) })
	return list
}

func replaceID(path string, id job.ID) string {
	return strings.NewReplacer("{jobID}", string(id), "ID", string(id)).Replace(path)
}

// target is the path of a route on which a right token would do something.
func (r route) target(id job.ID, template string) string {
	return strings.NewReplacer("{jobID}", string(id), "{name}", template, "{filename}", "run", "{number}", "1",
		"{segment}", "000000000000-000000000000").Replace(r.path)
}

// tokenRows are every call with every kind of wrong token, and with right ones in odd shapes.
func tokenRows(g *group, h *house) []row {
	var rows []row
	known := wanted()
	for _, r := range routes(g) {
		want, found := known[r.name()]
		if !found {
			g.Errorf("%s: no entry in wanted() says which token opens it", r.name())
			want = r.tokens
		}
		delete(known, r.name())
		slices.Sort(want)
		slices.Sort(r.tokens)
		if !slices.Equal(want, r.tokens) {
			g.Errorf("%s: openapi.yaml says that it is opened by %q, here it says %q", r.name(), r.tokens, want)
		}
		if r.open() {
			rows = append(rows, openRows(h, r)...)
		} else {
			rows = append(rows, closedRows(g.s, h, r)...)
		}
	}
	for name := range known {
		g.Errorf("%s: is not in openapi.yaml", name)
	}
	return rows
}

// closedRows are for a call that a token has to open.
func closedRows(s *suite, h *house, r route) []row {
	id, template := h.running.ID, "mine"
	right := map[string]string{"jobToken": h.running.Token, "agentToken": h.agent(s, id), "ownerToken": h.mine.Token}
	var mine string
	for _, scheme := range r.tokens {
		mine = right[scheme]
	}
	flip := func(at int) string {
		b := []byte(mine)
		if b[at] == 'A' {
			b[at] = 'B'
		} else {
			b[at] = 'A'
		}
		return string(b)
	}
	var rows []row
	add := func(kind string, status []int, header ...string) {
		req := request{method: r.method, target: r.target(id, template), header: header}
		rows = append(rows, row{name: r.name() + " with " + kind, req: req, status: status})
	}
	// No credentials that could be looked at.
	add("no token", []int{401})
	for _, value := range []string{
		"", " ", "Bearer", "Bearer ", "Bearer   ", "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+mine)),
		"Basic " + mine, "Token " + mine, mine,
		"Digest username=x", "Bearer:" + mine, "Bearer=" + mine, "Bearertoken " + mine, "JWT " + mine, "Bearer\t" + mine,
		"\"Bearer\" " + mine,
	} {
		add(fmt.Sprintf("%.20q", value), []int{401}, "Authorization: "+value)
	}
	add("a cookie", []int{401}, "Cookie: token="+mine)
	add("another header", []int{401}, "X-Authorization: Bearer "+mine, "Proxy-Authorization: Bearer "+mine)
	// Wrong ones.
	old, _ := token.New([]byte("a key that was taken out long ago"))
	wrong := map[string]string{
		"nonsense": "x", "zeros": strings.Repeat("0", 43), "long nonsense": strings.Repeat("A", 40_000),
		"punctuation": "' OR 1=1 --", "path": "../../../token.key",
		"not ASCII": "tökén", "first bit off": flip(0), "last character off": flip(len(mine) - 1),
		"middle off": flip(len(mine) / 2), "cut": mine[:len(mine)-1],
		"one more": mine + "A", "padded": mine + "=", "in capitals": strings.ToUpper(mine), "twice": mine + mine,
		"two in one": mine + " " + mine, "with comma": mine + "," + mine,
		"in quotes": `"` + mine + `"`, "JWT without key": "eyJhbGciOiJub25lIn0.e30.",
		"owner's of a job":    string(h.running.ID) + "." + h.running.Token,
		"owner's without MAC": string(h.mine.Owner) + ".", "owner's MAC alone": h.mine.Token[33:],
		"other job's": h.other.Token, "other owner's": h.theirs.Token,
		"agent's of another": h.agent(s, h.other.ID), "job's of an old key": old.Derive(token.User, id),
		"agent's of an old key": old.Derive(token.Agent, id),
		"owner's of an old key": old.Owner(h.mine.Owner), "hash": token.Hash(mine), "id": string(id),
	}
	for scheme, one := range right {
		if !slices.Contains(r.tokens, scheme) {
			wrong[scheme] = one
		}
	}
	for kind, value := range wrong {
		status := []int{403}
		if kind == "jobToken" && (strings.HasSuffix(r.path, "/status.json") || strings.HasSuffix(r.path, "/results")) {
			status = []int{403, 404} // for a user these are names of files that there are not
		}
		add(kind, status, bearer(value))
	}
	// Proxies and servers disagree on which of two counts.
	add("two tokens", []int{400}, bearer(mine), bearer(h.other.Token))
	add("two equal tokens", []int{400}, bearer(mine), bearer(mine))
	add("Basic and Bearer", []int{400}, "Authorization: Basic x", bearer(mine))
	rows = append(rows,
		row{name: r.name() + " with a token in the query", req: request{method: r.method,
			target: r.target(id, template) + "?access_token=" + mine}, status: []int{400, 401}},
		row{name: r.name() + " with a huge token", req: request{method: r.method, target: r.target(id, template),
			header: []string{bearer(strings.Repeat("A", 100_000))}},
			status: []int{431, closed}, plain: true},
		row{name: r.name() + " with NUL in the token", req: request{method: r.method, target: r.target(id, template),
			header: []string{bearer(mine + "\x00")}},
			status: []int{400}, plain: true},
	)
	return append(rows, rightRows(s, r)...)
}

// rightRows have a right token for what does not exist: it opens, and there is nothing.
func rightRows(s *suite, r route) []row {
	right := map[string]string{"jobToken": s.keys.Derive(token.User, ghost),
		"agentToken": s.keys.Derive(token.Agent, ghost), "ownerToken": s.keys.Owner(ghost)}
	var rows []row
	for _, scheme := range r.tokens {
		status := []int{404}
		if strings.HasSuffix(r.path, "/token") {
			status = []int{403} // an unknown job looks like a foreign one
		}
		for _, shape := range []string{"Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer  ", "  Bearer "} {
			target := r.target(ghost, "nosuch")
			if strings.HasSuffix(r.path, "/results") {
				target += "?stream=stdout"
			}
			rows = append(rows, row{name: fmt.Sprintf("%s with a right %s as %q", r.name(), scheme, shape), status: status,
				req: request{method: r.method, target: target,
					header: []string{"Authorization: " + shape + right[scheme] + " "}}})
		}
	}
	return rows
}

// openRows are for a call that needs no token: a wrong one opens no more, and where an owner may be named it is refused.
func openRows(h *house, r route) []row {
	status := []int{200}
	refusedAs := map[string][]int{
		"POST /api/v1/jobs": {415}, "PUT /api/v1/templates/{name}": {401, 403}, "POST /events": {401, 403},
		"OPTIONS /events": {401, 403},
	}
	if other, found := refusedAs[r.name()]; found {
		status = other
	}
	var rows []row
	for kind, value := range map[string]string{
		"nonsense": "Bearer x", "Basic": "Basic eDp5", "nothing": "Bearer ", "another job's": "Bearer " + h.other.Token,
		"long":             "Bearer " + strings.Repeat("A", 40_000),
		"a forged owner":   "Bearer " + string(ghost) + "." + h.mine.Token[33:],
		"a job's as owner": "Bearer " + string(h.other.ID) + "." + h.other.Token,
	} {
		req := request{method: r.method, target: r.target(ghost, "nosuch"), header: []string{"Authorization: " + value}}
		if r.name() == "POST /events" {
			req = requestedJob("open"+kind, requestedData(), "Authorization: "+value)
		}
		rows = append(rows, row{name: r.name() + " with " + kind, req: req, status: status})
	}
	if strings.Contains(strings.Join(r.tokens, " "), "ownerToken") {
		rows = append(rows, row{name: r.name() + " with two tokens", status: []int{400}, req: request{
			method: r.method, target: r.target(ghost, "nosuch"),
			header: []string{bearer(h.mine.Token), bearer(h.theirs.Token)},
		}})
	}
	return rows
}
