package routes_test

import (
	"strings"
	"testing"

	"go-job-orchestrator/shared/routes"
)

// TestTable makes sure that each call is in the table once, with all its fields.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range routes.All() {
		if r.Reach != routes.Cluster { // each of those is the only call of its service
			if seen[r.String()] {
				t.Errorf("%s is there twice", r)
			}
			seen[r.String()] = true
		}
		if !strings.HasPrefix(r.Path, "/") || r.Method != strings.ToUpper(r.Method) || r.Function == "" || r.Role == "" ||
			r.Reach == 0 {
			t.Errorf("%s: %+v", r, r)
		}
		if agents := r.Role == routes.NoCaller; agents != (r.Reach == routes.Pods) {
			t.Errorf("%s: what no caller may call is for pods, and nothing else is", r)
		}
		if agents := r.Function == routes.AgentAPI; agents != strings.HasPrefix(r.Path, "/agent/v1/") {
			t.Errorf("%s: /agent/v1 is agentapi's", r)
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d calls", len(seen))
	}
}

// TestAll makes sure that callers cannot change the table.
func TestAll(t *testing.T) {
	clear(routes.All())
	if routes.All()[0] != routes.SubmitJob {
		t.Error("a change of the list changes the table")
	}
}

func TestURL(t *testing.T) {
	for _, test := range []struct {
		route  routes.Route
		values []string
		want   string
	}{
		{routes.SubmitJob, nil, "/api/v1/jobs"},
		{routes.GetTemplate, []string{"a/b c"}, "/api/v1/templates/a%2Fb%20c"},
		{routes.EndAttempt, []string{"id", "3"}, "/agent/v1/jobs/id/attempts/3/end"},
		{routes.UploadOutput, []string{"id", "a b/ü?#%"}, "/artifacts/id/upload/a%20b/%C3%BC%3F%23%25"},
		{routes.GetArtifact, []string{"id", "%2F"}, "/artifacts/id/%252F"},
	} {
		if got := test.route.URL(test.values...); got != test.want {
			t.Errorf("%s with %q: got %s, want %s", test.route, test.values, got, test.want)
		}
	}
	for _, values := range [][]string{nil, {"a"}, {"a", "b", "c"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d values are taken for two parameters", len(values))
				}
			}()
			routes.EndAttempt.URL(values...)
		}()
	}
}
