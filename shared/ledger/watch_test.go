package ledger_test

import (
	"testing"

	"go-job-orchestrator/shared/job"
)

// TestWatch takes a job through its life, and another beside it of which nothing must be told.
func TestWatch(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	index, other := w.accept(w.newIndex(nil)), w.accept(w.newIndex(nil))
	changed, leave := w.Watch(index.JobID)
	defer leave()
	rang := func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	begin := func(of *job.Index) func() error {
		return func() error { _, err := w.StartAttempt(ctx, of.JobID, 1, "owner", nil); return err }
	}
	end := func(of *job.Index) func() error {
		return func() error {
			now := w.now()
			return w.EndAttempt(ctx, of.JobID, job.Attempt{Number: 1, FinishedAt: &now, Reason: job.ReasonCompleted})
		}
	}
	finish := func(of *job.Index) func() error {
		return func() error {
			_, _, err := w.Finish(ctx, of, job.Terminal{Phase: job.Succeeded, FinishedAt: w.now()})
			return err
		}
	}
	for _, step := range []struct {
		name  string
		do    func() error
		rings bool
	}{
		{"another begins", begin(other), false},
		{"it begins", begin(index), true},
		{"another's attempt ends", end(other), false},
		{"its attempt ends", end(index), true},
		{"another is over", finish(other), false},
		{"it is over", finish(index), true},
		{"another is to be removed", func() error { return w.RequestRemoval(ctx, other.JobID) }, false},
		{"it is to be removed", func() error { return w.RequestRemoval(ctx, index.JobID) }, true},
	} {
		w.must(step.do())
		if got := rang(); got != step.rings {
			t.Errorf("%s: rang: %t, want %t", step.name, got, step.rings)
		}
	}
}
