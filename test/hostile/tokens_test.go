package hostile

import (
	"encoding/base64"
	"fmt"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// route is one call of the table of routes. Test/contract holds that to the descriptions.
type route struct{ routes.Route }

func (c route) open() bool { return c.Tokens.Opens(routes.None) }

// served lists the routes that the one process answers, so that a new route is attacked without a
// change here.
func served() []route {
	var list []route
	for _, r := range routes.All() {
		if r.Reach != routes.Cluster {
			list = append(list, route{r})
		}
	}
	return list
}

func replaceID(path string, id job.ID) string {
	return strings.NewReplacer("{jobID}", string(id), "ID", string(id)).Replace(path)
}

// target is the path of a call on which a right token would do something.
func (c route) target(id job.ID, template string) string {
	return strings.NewReplacer(":id", string(id), ":name", template, "*filename", "run", ":number", "1",
		":segment", "000000000000-000000000000", ":stream", "stdout").Replace(c.Path)
}

// tokenRows are every call with every kind of wrong token, and with right ones in odd shapes.
func tokenRows(g *group, h *house) []row {
	var rows []row
	for _, c := range served() {
		if c.open() {
			rows = append(rows, openRows(h, c)...)
		} else {
			rows = append(rows, closedRows(g.s, h, c)...)
		}
	}
	return rows
}

// closedRows are for a call that a token has to open.
func closedRows(s *suite, h *house, r route) []row {
	id, template := h.running.ID, "mine"
	right := map[routes.Tokens]string{routes.User: h.running.Token, routes.Agent: h.agent(s, id),
		routes.Owner: h.mine.Token}
	var mine string
	for kind, one := range right {
		if r.Tokens.Opens(kind) {
			mine = one
		}
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
		req := request{method: r.Method, target: r.target(id, template), header: header}
		rows = append(rows, row{name: r.String() + " with " + kind, req: req, status: status})
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
	for kind, one := range right {
		if !r.Tokens.Opens(kind) {
			wrong[fmt.Sprintf("one of kind %b", kind)] = one
		}
	}
	for kind, value := range wrong {
		add(kind, []int{403}, bearer(value))
	}
	// Proxies and servers disagree on which of two counts.
	add("two tokens", []int{400}, bearer(mine), bearer(h.other.Token))
	add("two equal tokens", []int{400}, bearer(mine), bearer(mine))
	add("Basic and Bearer", []int{400}, "Authorization: Basic x", bearer(mine))
	rows = append(rows,
		row{name: r.String() + " with a token in the query", req: request{method: r.Method,
			target: r.target(id, template) + "?access_token=" + mine}, status: []int{400, 401}},
		row{name: r.String() + " with a huge token", req: request{method: r.Method, target: r.target(id, template),
			header: []string{bearer(strings.Repeat("A", 100_000))}},
			status: []int{431, closed}, plain: true},
		row{name: r.String() + " with NUL in the token", req: request{method: r.Method, target: r.target(id, template),
			header: []string{bearer(mine + "\x00")}},
			status: []int{400}, plain: true},
	)
	return append(rows, rightRows(s, r)...)
}

// rightRows have a right token for things that do not exist: the token is accepted, and the answer
// says that there is nothing.
func rightRows(s *suite, r route) []row {
	right := map[routes.Tokens]string{routes.User: s.keys.Derive(token.User, ghost),
		routes.Agent: s.keys.Derive(token.Agent, ghost), routes.Owner: s.keys.Owner(ghost)}
	var rows []row
	for kind, value := range right {
		if !r.Tokens.Opens(kind) {
			continue
		}
		status := []int{404}
		if strings.HasSuffix(r.Path, "/token") {
			status = []int{403} // an unknown job looks like a foreign one
		}
		for _, shape := range []string{"Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer  ", "  Bearer "} {
			rows = append(rows, row{name: fmt.Sprintf("%s with a right token of kind %b as %q", r, kind, shape), status: status,
				req: request{method: r.Method, target: r.target(ghost, "nosuch"),
					header: []string{"Authorization: " + shape + value + " "}}})
		}
	}
	return rows
}

// openRows are for calls that need no token. A wrong token gives no more access. Where a token may
// name an owner, a wrong one is refused.
func openRows(h *house, r route) []row {
	status := []int{200}
	if r.Route == routes.SubmitJob {
		status = []int{415}
	}
	if r.Tokens.Opens(routes.Owner) {
		status = []int{401, 403}
	}
	var rows []row
	for kind, value := range map[string]string{
		"nonsense": "Bearer x", "Basic": "Basic eDp5", "nothing": "Bearer ", "another job's": "Bearer " + h.other.Token,
		"long":             "Bearer " + strings.Repeat("A", 40_000),
		"a forged owner":   "Bearer " + string(ghost) + "." + h.mine.Token[33:],
		"a job's as owner": "Bearer " + string(h.other.ID) + "." + h.other.Token,
	} {
		req := request{method: r.Method, target: r.target(ghost, "nosuch"), header: []string{"Authorization: " + value}}
		if r.Route == routes.ReceiveEvent {
			req = requestedJob("open"+kind, requestedData(), "Authorization: "+value)
		}
		rows = append(rows, row{name: r.String() + " with " + kind, req: req, status: status})
	}
	if r.Tokens.Opens(routes.Owner) {
		rows = append(rows, row{name: r.String() + " with two tokens", status: []int{400}, req: request{
			method: r.Method, target: r.target(ghost, "nosuch"),
			header: []string{bearer(h.mine.Token), bearer(h.theirs.Token)},
		}})
	}
	return rows
}
