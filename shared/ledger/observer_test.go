package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
)

// observer notes what it is told.
type observer struct{ told []string }

func (o *observer) Started(waited time.Duration) {
	o.told = append(o.told, fmt.Sprint("started after ", waited.Round(time.Second)))
}

func (o *observer) AttemptEnded(reason job.Reason) {
	o.told = append(o.told, fmt.Sprint("attempt ", reason))
}

func (o *observer) Ended(runtime string, phase job.Phase, reason job.Reason, ran time.Duration) {
	o.told = append(o.told, fmt.Sprint(runtime, " ", phase, " ", reason, " after ", ran.Round(time.Second)))
}

// TestObserver makes sure that each record is told once, also when it is written again.
func TestObserver(t *testing.T) {
	now := time.Now()
	f := ledgertest.Open(t, t.TempDir(), func() time.Time { return now })
	o := &observer{}
	observed := f.Ledger.Observed(o).Publishing(nil)
	first, second := f.Job(), f.Job()
	now = now.Add(time.Minute)
	ctx := t.Context()
	for range 2 {
		a, err := observed.StartAttempt(ctx, first.JobID, 1, "x", nil)
		if err == nil {
			end := now.Add(time.Second)
			a.FinishedAt, a.Reason = &end, job.ReasonOOMKilled
			f.Must(observed.EndAttempt(ctx, first.JobID, a))
			f.Must(observed.EndAttempt(ctx, first.JobID, a))
		}
	}
	_, err := observed.StartAttempt(ctx, first.JobID, 2, "x", nil)
	f.Must(err)
	started := now
	for range 2 {
		_, _, err := observed.Finish(ctx, first, job.Terminal{
			Phase: job.Failed, Reason: job.ReasonOOMKilled, StartedAt: &started, FinishedAt: now.Add(time.Hour),
		})
		f.Must(err)
	}
	from := now.Add(-30 * time.Second)
	_, err = observed.StartPrepared(ctx, second.JobID, 1, "x", nil, &from)
	f.Must(err)
	_, _, err = observed.Finish(ctx, second, job.Terminal{Phase: job.Cancelled, Reason: job.ReasonCancelled, FinishedAt: now})
	f.Must(err)
	want := []string{
		"started after 1m0s", "attempt OOMKilled", first.Runtime + " Failed OOMKilled after 1h0m0s", "started after 30s",
		second.Runtime + " Cancelled Cancelled after 0s",
	}
	if diff := cmp.Diff(want, o.told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCount counts more jobs than a page has, in the lists of both kinds.
func TestCount(t *testing.T) {
	now := time.Now()
	f := ledgertest.Open(t, "", func() time.Time { return now })
	const jobs, runs = 1100, 1050
	for i := range jobs {
		index := f.Job()
		if i == 0 {
			now = now.Add(time.Second)
		}
		if i > 0 && i <= runs {
			f.Must(f.Store.Mark(t.Context(), ".orchestrator/running/"+string(index.JobID)))
		}
	}
	// What has just ended may still be in one of the two lists.
	f.Must(f.Store.Mark(t.Context(), ".orchestrator/running/00000000000000000000000000000000"))
	f.Must(f.Store.Mark(t.Context(), ".orchestrator/running/ffffffffffffffffffffffffffffffff"))
	got, err := f.Ledger.Count(t.Context())
	f.Must(err)
	want := job.Census{Jobs: map[job.Phase]int{
		job.Pending: jobs - runs, job.Running: runs, job.Succeeded: 0, job.Failed: 0, job.Cancelled: 0,
	}}
	oldest := got.Oldest
	if got.Oldest = (time.Time{}); !cmp.Equal(want, got) || now.Sub(oldest) < time.Second/2 {
		t.Errorf("oldest %s before now (-want +got):\n%s", now.Sub(oldest), cmp.Diff(want, got))
	}
}
