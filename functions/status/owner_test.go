package status_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
)

// TestListByOwner has each kind of caller list jobs. Only admins see those of others.
func TestListByOwner(t *testing.T) {
	f := newFixture(t)
	ids := map[string]job.ID{}
	for _, owner := range []string{"local", "ann", "bob@example.com"} {
		index := f.Job(func(index *job.Index) { index.Owner = owner })
		ids[owner] = index.JobID
	}
	for _, test := range []struct {
		caller, query string
		want          []string // owners; nil: refused
	}{
		{"ann", "", []string{"ann"}}, {"ann/read", "", []string{"ann"}}, {"ann", "?owner=ann", []string{"ann"}},
		{"ann", "?owner=bob@example.com", nil}, {"ann/read", "?owner=local", nil}, {"ann", "?owner=nobody", nil},
		{"nobody-else", "", []string{}}, {"ann", "?phase=Pending", []string{"ann"}},
		{"root/admin", "", []string{"ann", "bob@example.com", "local"}}, {"root/admin", "?owner=root", []string{}},
		{"root/admin", "?owner=ann", []string{"ann"}}, {"root/admin", "?owner=local", []string{"local"}},
		{"root/admin", "?owner=bob%40example.com", []string{"bob@example.com"}},
	} {
		got, body := ledgertest.Send(t, http.MethodGet, f.server.URL+"/api/v1/jobs"+test.query, nil, guardtest.Caller,
			test.caller)
		if test.want == nil {
			p := ledgertest.WantProblem(t, got, body, http.StatusForbidden)
			if len(p.Errors) != 1 || p.Errors[0].Field != "owner" || !strings.Contains(p.Errors[0].Message, "admin") {
				t.Errorf("%s %s: got %+v", test.caller, test.query, p)
			}
			continue
		}
		var list page
		if err := json.Unmarshal(body, &list); err != nil || got.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: got %s %s", test.caller, test.query, got.Status, body)
		}
		listed := map[string]job.ID{}
		for _, item := range list.Items {
			listed[item.Owner] = item.JobID
		}
		want := map[string]job.ID{}
		for _, owner := range test.want {
			want[owner] = ids[owner]
		}
		if diff := cmp.Diff(want, listed); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.caller, test.query, diff)
		}
	}
	got, body := ledgertest.Send(t, http.MethodGet, f.server.URL+"/api/v1/jobs", nil, guardtest.Caller, guardtest.Nobody)
	ledgertest.WantProblem(t, got, body, http.StatusUnauthorized)
}
