package cancel

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store/storetest"
)

type stopperFunc func(ctx context.Context, id job.ID, remove bool) error

func (s stopperFunc) Stop(ctx context.Context, id job.ID, remove bool) error {
	return s(ctx, id, remove)
}

// removedByOther ends and removes the job, as another request would.
func (f *fixture) removedByOther(index *job.Index) {
	f.T.Helper()
	f.End(index, job.Cancelled)
	f.Must(f.Ledger.RequestRemoval(f.T.Context(), index.JobID))
	f.Must(f.Ledger.Remove(f.T.Context(), index.JobID))
}

// TestGone has another request remove a job while this one stops it. The job is over then, and
// nothing that is recorded afterwards may outlive it.
func TestGone(t *testing.T) {
	for name, started := range map[string]bool{"pending": false, "running": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			index := f.job()
			if started {
				f.Start(index, 1)
			}
			function := f.function()
			function.stopper = stopperFunc(func(context.Context, job.ID, bool) error {
				f.removedByOther(index)
				return nil
			})
			if over, err := function.stop(t.Context(), index, true); !over || err != nil {
				t.Errorf("got %t, %v", over, err)
			}
			f.wantNothing()
		})
	}
	t.Run("while this waits", func(t *testing.T) {
		f := newFixture(t)
		index := f.job()
		f.Start(index, 1)
		f.removedByOther(index)
		if over, err := f.function().await(t.Context(), index.JobID); !over || err != nil {
			t.Errorf("got %t, %v", over, err)
		}
	})
	t.Run("while its end is recorded", func(t *testing.T) {
		f := newFixture(t)
		index := f.job()
		function := f.function()
		function.stopper = stopperFunc(func(context.Context, job.ID, bool) error { return nil })
		remove := sync.OnceFunc(func() { f.removedByOther(index) })
		function.ledger = ledger.New(storetest.WithHook(f.Store, func(string, string) error {
			remove()
			return errors.New("the job is being removed")
		}), function.now)
		if over, err := function.stop(t.Context(), index, true); !over || err != nil {
			t.Errorf("got %t, %v", over, err)
		}
		f.wantNothing()
	})
}

// TestRemoveAnswers has the removal of a job meet what others do, and a storage that fails.
func TestRemoveAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(f *fixture, function *Function, index *job.Index)
		want      int
	}{
		"removed by another": {func(f *fixture, _ *Function, index *job.Index) { f.removedByOther(index) }, http.StatusNoContent},
		"not to be removed": {func(f *fixture, function *Function, index *job.Index) {
			f.End(index, job.Cancelled)
			function.ledger = ledger.New(storetest.WithHook(f.Store, func(string, string) error {
				return errors.New("storage is away")
			}), function.now)
		}, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			index := f.job()
			f.Start(index, 1)
			function := f.function()
			function.stopper = stopperFunc(func(context.Context, job.ID, bool) error {
				test.meanwhile(f, function, index)
				return nil
			})
			f.server = f.Serve(function)
			f.remove(test.want, index.JobID)
		})
	}
}
