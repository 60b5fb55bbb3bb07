package status

import (
	"slices"
	"testing"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// FuzzListQuery demands that whatever is accepted is a query that the records can be asked.
func FuzzListQuery(f *testing.F) {
	for _, seed := range []string{
		"", "limit=5", "limit=500&phase=Running&label=a=b", "pageToken=00000000000000000000000000000000",
		"label=a%2Fb=c&label=d=", "owner=ann@example.com", "owner=a%2Fb&limit=1", "%zz", "a;b", "limit=5&limit=6",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		if err != nil {
			return
		}
		if q.Limit < 1 || q.Limit > maxLimit || len(q.Labels) > maxLabels {
			t.Errorf("%q: got %+v", raw, q)
		}
		if q.Phase != "" && !slices.Contains(job.Phases(), q.Phase) {
			t.Errorf("%q: phase %q", raw, q.Phase)
		}
		if _, err := job.ParseID(string(q.After)); q.After != "" && err != nil {
			t.Errorf("%q: after %q", raw, q.After)
		}
		if message := access.CheckOwner(q.Owner); q.Owner != "" && message != "" {
			t.Errorf("%q: owner %q %s", raw, q.Owner, message)
		}
		for k, v := range q.Labels {
			if message := job.CheckLabel(k, v); message != "" {
				t.Errorf("%q: label %q=%q %s", raw, k, v, message)
			}
		}
	})
}
