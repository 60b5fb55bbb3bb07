package hostile

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/routes"
)

// behind stands for the functions behind the gateway. It notes what reaches them.
type behind struct {
	s  *suite
	mu sync.Mutex
	// seen are the requests by their header Row, which a hostile request has to be known by.
	seen   map[string]http.Header
	faults []string
}

func (b *behind) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, asserted, err := access.ReadAssertion(r, b.s.keys, time.Now())
	data, _ := json.Marshal(r.Header)
	b.mu.Lock()
	defer b.mu.Unlock()
	name := r.Header.Get("Row")
	b.seen[name] = r.Header
	switch {
	case err != nil:
		b.faults = append(b.faults, name+": "+err.Error())
	case asserted && r.Header.Get("Authorization") != "":
		b.faults = append(b.faults, name+": the credentials of "+c.Owner+" were passed on")
	case strings.Contains(string(data), "Bearer gojob_"):
		b.faults = append(b.faults, name+": a key was passed on")
	case asserted && c.Owner != r.Header.Get("Owner") && name != "":
		b.faults = append(b.faults, name+": the function is told that "+c.Owner+" calls")
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"items":[]}`))
}

// gateway attacks the front where callers have keys. What it refuses never reaches a function, and what
// it passes on says who calls in words of its own.
func (s *suite) gateway(t *testing.T) {
	b := &behind{s: s, seen: map[string]http.Header{}}
	target := httptest.NewServer(b)
	t.Cleanup(target.Close)
	dir := folder(t)
	vars := []string{"AUTH=keys", "KEYS_FILE=" + s.store(t, folder(t)), "EXPOSE_ARTIFACT_UPLOADS=true"}
	for _, name := range []string{"SUBMIT", "STATUS", "LOGS", "ARTIFACTS", "OUTPUTS", "CANCEL", "KEYS"} {
		vars = append(vars, name+"_URL="+target.URL)
	}
	srv := s.launch(t, s.front, dir, vars...)
	srv.keys = s.callers
	s.run(t, "gateway", srv, memoryBound, func(g *group) {
		h := &house{server: srv, running: &begun{ID: ghost}, other: &begun{ID: "fe5df73070535f3b1d397b4f85a949fe"}}
		h.other.Token = s.userToken(string(h.other.ID))
		var rows []row
		for _, c := range served() {
			if c.Function == routes.Every || c.Function == routes.Gateway {
				continue
			}
			a := attempt{s: s, h: h, route: c, id: ghost, want: atGateway}
			if c.anyone() {
				rows = append(rows, a.anyoneRows()...)
				continue
			}
			a.noneRows()
			a.senderRows(a.senders())
			a.keyRows()
			a.jobTokenRows()
			a.oddRows()
			a.assertionRows()
			rows = append(rows, a.rows...)
			if c.Function != routes.Metrics { // which the gateway answers itself
				rows = append(rows, passedRows(a)...)
			}
		}
		for i := range rows {
			rows[i].req = rows[i].req.with("Row: " + rows[i].name)
		}
		g.refuse(rows)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, r := range rows {
			if _, reached := b.seen[r.name]; reached != (r.status[0] == http.StatusOK) {
				g.Errorf("gateway: %q: it reached a function: %t", r.name, reached)
			}
		}
		for _, fault := range b.faults {
			g.Errorf("gateway: %s", fault)
		}
	})
}

// atGateway is what the gateway answers. Whose a job is, the function finds out.
func atGateway(r routes.Route, sender guardmatrix.Sender) int {
	want := guardmatrix.WantByKey(r, sender)
	if want == http.StatusNotFound {
		return http.StatusOK
	}
	return want
}

// passedRows are requests that the gateway passes on, with more in them than that.
func passedRows(a attempt) []row {
	var rows []row
	owners := map[guardmatrix.Sender]string{guardmatrix.Admin: "root", guardmatrix.User: mine, guardmatrix.Reader: mine,
		guardmatrix.OtherUser: theirs}
	for sender, text := range a.senders() {
		if a.of(sender) != http.StatusOK {
			continue
		}
		for _, more := range []string{"X: y", access.AssertionHeader + ": forged", "gojob-assertion: x",
			"Connection: Gojob-Assertion, Authorization"} {
			rows = append(rows, row{name: a.String() + " by " + string(sender) + " and " + more, status: []int{http.StatusOK},
				req: request{method: a.Method, target: a.target(a.id, "mine"),
					header: []string{bearer(text), more, "Owner: " + owners[sender]}}})
		}
	}
	return rows
}
