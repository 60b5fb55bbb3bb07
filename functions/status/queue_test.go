package status_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
)

// queue is one in which some jobs wait, the next one first.
type queue []job.ID

func (q *queue) Ahead(id job.ID) (int, bool) {
	at := slices.Index(*q, id)
	return max(at, 0), at >= 0
}

// TestQueue asks for jobs that wait, run and are over.
func TestQueue(t *testing.T) {
	f := &fixture{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	f.Fixture = ledgertest.Open(t, t.TempDir(), func() time.Time { return f.now })
	var waiting queue
	function, err := status.New(status.Deps{Env: f.Env(), Queue: &waiting})
	f.Must(err)
	f.server = f.Serve(function)
	over, runs, second, third := f.job(nil), f.job(nil), f.job(nil), f.job(nil)
	f.end(over, job.Failed)
	f.Start(runs, 1)
	waiting = queue{over.JobID, second.JobID, third.JobID} // over: the queue may lag behind
	for id, want := range map[job.ID]string{
		over.JobID: "null", runs.JobID: "null", second.JobID: `{"position":2,"ahead":1}`,
		third.JobID: `{"position":3,"ahead":2}`,
	} {
		resp, body := f.get("/api/v1/jobs/" + string(id))
		var got struct{ Queue json.RawMessage }
		if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", id, body, err)
		}
		if got.Queue == nil {
			got.Queue = json.RawMessage("null")
		}
		if diff := cmp.Diff(want, string(got.Queue)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
}

// TestNames lists jobs by the names that their users gave them.
func TestNames(t *testing.T) {
	f := newFixture(t)
	named := func(name string) job.ID {
		f.now = f.now.Add(time.Second)
		return f.Job(func(index *job.Index) { index.Name, index.Labels = name, map[string]string{"team": "a"} }).JobID
	}
	first, _, other, last := named("Nightly run"), named(""), named("nightly run"), named("Nightly run")
	for query, want := range map[string][]job.ID{
		"?name=Nightly%20run": {last, first}, "?name=Nightly+run&label=team%3Da": {last, first}, "?name=nightly+run": {other},
		"?name=Nightly+run&phase=Running": nil, "?name=Nightly": nil, "?name=Nightly+run&limit=1": {last},
		"?name=Nightly+run&pageToken=" + string(last): {first},
	} {
		resp, body := f.get("/api/v1/jobs" + query)
		var page struct{ Items []job.Summary }
		if err := json.Unmarshal(body, &page); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", query, body, err)
		}
		var got []job.ID
		for _, one := range page.Items {
			got = append(got, one.JobID)
			if one.Name == "" {
				t.Errorf("%s: %s has no name", query, one.JobID)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for _, query := range []string{"?name=", "?name=a%0ab", "?name=%ff", "?name=a&name=b", "?name=+a"} {
		if resp, body := f.get("/api/v1/jobs" + query); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, resp.StatusCode, body)
		}
	}
}
