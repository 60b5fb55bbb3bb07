package hostile

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// house is a server with things that attackers want: a finished and a running job of one owner, and a
// job of their template; a job of another owner; templates of both.
type house struct {
	*server
	done, running, other *begun
	mine, theirs         stored
	owned                job.ID // started from my template
	made                 string // the ID of a key that was made by the API
	shared               string // a token to look at the finished job
}

// content is what the finished job left in its output data.bin.
const content = "0123456789abcdefghijklmnopqrstuvwxyz"

// resultsOf leaves outputs of every kind, most of which must not become any.
const resultsOf = `cd results
printf 0123456789abcdefghijklmnopqrstuvwxyz > data.bin
echo '<script>alert(1)</script>' > page.html
echo x > 'a"b.txt'
echo x > "$(printf 'a\nSet-Cookie: b')"
echo x > "$(printf '\377')"
echo x > 'a;filename=evil.html'
echo x > "ünï code.txt"
mkdir -p deep/er && echo x > deep/er/f.txt
ln -s /etc/passwd link-out
ln -s / root
ln -s ../../../../../../etc up
ln -s data.bin link-in
ln data.bin hard.bin
mkfifo fifo
mkdir .job && echo x > .job/outputs.json
mkdir closed && echo x > closed/in && chmod 0 closed
echo x > unreadable && chmod 0 unreadable
`

func (s *suite) jobParts(t *testing.T) {
	h := &house{server: s.launch(t, s.all, folder(t), "KILL_GRACE=500ms", "REAP_INTERVAL=1h", "MAX_CONCURRENT_JOBS=8")}
	h.done = h.begin(t, script(resultsOf)...)
	h.other = h.beginBy(t, submit(script("true\n")...).by(theirs))
	h.running = h.begin(t, script("echo begun; exec sleep 1000\n")...)
	h.server.lasting = 1
	h.mine = h.template(t, "mine", script("echo secret > results/secret\n", text("env", `{"KEY":"secret"}`)))
	h.must(t, http.StatusCreated, put("theirs", script("true\n")).by(theirs), &h.theirs)
	owned := h.beginBy(t, post("/api/v1/templates/mine/jobs", encode()))
	h.owned = owned.ID
	var shared struct{ Token string }
	h.must(t, http.StatusCreated, request{method: http.MethodPost, target: h.done.path() + "/share"}, &shared)
	h.shared = shared.Token
	h.made = madeKey(t, h.server, `{"name":"made","role":"read"}`).ID
	for _, j := range []*begun{h.done, h.other, owned} {
		if got := j.wait(t); got.Phase != job.Succeeded {
			t.Fatalf("job is %s (%s: %s)", got.Phase, got.Reason, got.Message)
		}
	}
	h.running.says(t, "begun")
	s.run(t, "tokens", h.server, memoryBound, func(g *group) { g.refuse(tokenRows(g, h)); sameAnswers(g, h) })
	s.run(t, "ranges", h.server, memoryBound, func(g *group) { g.refuse(rangeRows(g, h)) })
	s.run(t, "outputs", h.server, memoryBound, func(g *group) { g.refuse(outputRows(h)); outputs(g, h) })
	s.run(t, "owners", h.server, memoryBound, func(g *group) { owners(g, h) })
	s.run(t, "keys", h.server, memoryBound, func(g *group) { keyCalls(g, h) })
}

func (h *house) agent(s *suite, id job.ID) string { return s.keys.Derive(token.Agent, id) }

// sameAnswers demands that nobody can tell a job or template that is not theirs from one that does
// not exist.
func sameAnswers(g *group, h *house) {
	as := func(r request, header string) request {
		if header != "" {
			return r.with(header)
		}
		return r.by(theirs)
	}
	for _, c := range served() {
		if !c.OfJob() || c.Reach == routes.Pods {
			continue
		}
		for name, header := range map[string]string{"token": bearer(h.other.Token), "key": ""} {
			g.try("foreign and unknown: "+c.String()+" by "+name, func(fail func(string, ...any)) {
				ask := func(id job.ID) (*answer, error) {
					return g.server.send(as(request{method: c.Method, target: c.target(id, "")}, header))
				}
				a, err := ask(h.done.ID)
				b, err2 := ask(ghost)
				x, err3 := ask("nonsense")
				if err != nil || err2 != nil || err3 != nil {
					fail("%v %v %v", err, err2, err3)
					return
				}
				if a.status < http.StatusBadRequest || a.status != b.status || a.status != x.status ||
					string(a.body) != string(b.body) || string(a.body) != string(x.body) {
					fail("the answers differ: %d %s %d %s %d %s", a.status, a.body, b.status, b.body, x.status, x.body)
				}
			})
		}
	}
	for _, r := range []request{
		get("/api/v1/templates/NAME"), {method: http.MethodDelete, target: "/api/v1/templates/NAME"},
		post("/api/v1/templates/NAME/jobs", encode()), cloudEvent("NAME", "same"),
	} {
		g.try("foreign and unknown: "+r.method+" "+r.target, func(fail func(string, ...any)) {
			ask := func(name string) (*answer, error) {
				named := r.by(theirs)
				named.target = strings.ReplaceAll(r.target, "NAME", name)
				a, err := g.server.send(named)
				if err == nil {
					a.body = bytes.ReplaceAll(a.body, []byte(name), []byte("NAME"))
				}
				return a, err
			}
			a, err := ask("mine")
			b, err2 := ask("none")
			if err != nil || err2 != nil || a.status != http.StatusNotFound || b.status != a.status ||
				string(a.body) != string(b.body) {
				fail("the answers differ: %s %v %s %v", brief(a), err, brief(b), err2)
			}
		})
	}
}
