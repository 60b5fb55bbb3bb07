package front_test

import (
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/access"
)

// TestAudit has the front record what it refuses, and nothing that it passes on: the function that
// answers does that.
func TestAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	user := newKey(t, path, access.Request{Name: "ci", Owner: "ann", Role: access.User})
	reader := newKey(t, path, access.Request{Name: "wall", Owner: "ann", Role: access.Read})
	w := newFixture(t, "AUTH=keys", "KEYS_FILE="+path)
	lines := 0
	for _, test := range []struct{ method, path, bearer, want string }{
		{"POST", "/api/v1/jobs", user, ""},
		{"DELETE", "/api/v1/jobs/" + id, user, ""},
		{"GET", "/api/v1/jobs", reader, ""},
		{"POST", "/api/v1/jobs", reader, `"owner":"ann","role":"read","via":"key `},
		{"GET", "/api/v1/keys", user, `"route":"/api/v1/keys","status":403`},
		{"GET", "/outputs/" + id, "", `"route":"/outputs/:id","job":"` + id + `","status":401`},
	} {
		r := w.request(test.method, test.path, nil)
		if test.bearer != "" {
			r.Header.Set("Authorization", "Bearer "+test.bearer)
		}
		w.do(r)
		if test.want != "" {
			lines++
		}
		if log := w.log.String(); strings.Count(log, `"msg":"audit"`) != lines || !strings.Contains(log, test.want) {
			t.Errorf("%s %s: the log is %s, want %d lines and %s", test.method, test.path, log, lines, test.want)
		}
	}
}
