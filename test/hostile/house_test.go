package hostile

import (
	"net/http"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// house is a server with things that attackers want: a finished and a running job of one owner's
// template, another user's job, and templates of two owners.
type house struct {
	*server
	done, running, other *begun
	mine, theirs         stored
	owned                job.ID // started from my template
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
	h.other = h.begin(t, script("true\n")...)
	h.running = h.begin(t, script("echo begun; exec sleep 1000\n")...)
	h.mine = h.template(t, "mine", script("echo secret > results/secret\n", text("env", `{"KEY":"secret"}`)))
	h.theirs = h.template(t, "theirs", script("true\n"))
	owned := h.beginBy(t, post("/api/v1/templates/mine/jobs", encode(), bearer(h.mine.Token)))
	h.owned = owned.ID
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
}

func (h *house) agent(s *suite, id job.ID) string { return s.keys.Derive(token.Agent, id) }

// sameAnswers demands that nobody can tell a job or template that is not theirs from one that does
// not exist.
func sameAnswers(g *group, h *house) {
	for _, target := range []string{"/api/v1/jobs/ID", "/api/v1/jobs/ID/logs", "/outputs/ID", "/outputs/ID/data.bin",
		"/artifacts/ID/run", "/api/v1/jobs/ID/events"} {
		g.try("foreign and unknown: "+target, func(fail func(string, ...any)) {
			a, err := g.server.send(get(replaceID(target, h.done.ID), bearer(h.other.Token)))
			b, err2 := g.server.send(get(replaceID(target, ghost), bearer(h.other.Token)))
			c, err3 := g.server.send(get(replaceID(target, "nonsense"), bearer(h.other.Token)))
			if err != nil || err2 != nil || err3 != nil {
				fail("%v %v %v", err, err2, err3)
				return
			}
			if a.status != http.StatusForbidden || string(a.body) != string(b.body) || string(a.body) != string(c.body) {
				fail("the answers differ: %d %s %d %s %d %s", a.status, a.body, b.status, b.body, c.status, c.body)
			}
		})
	}
	g.try("the token of a job that is not the owner's", func(fail func(string, ...any)) {
		a, err := g.server.send(get("/api/v1/jobs/"+string(h.done.ID)+"/token", bearer(h.mine.Token)))
		b, err2 := g.server.send(get("/api/v1/jobs/"+string(ghost)+"/token", bearer(h.mine.Token)))
		if err != nil || err2 != nil || a.status != http.StatusForbidden || string(a.body) != string(b.body) {
			fail("%v %v %v %v", a, err, b, err2)
		}
	})
}
