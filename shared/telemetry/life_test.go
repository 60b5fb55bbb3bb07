package telemetry

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store/storetest"
)

// TestCrashesOfLife has the process that accepts, runs and removes a job die before each change, and
// others go on. What was recorded must be counted once, and nothing else.
func TestCrashesOfLife(t *testing.T) {
	for _, pushed := range []bool{false, true} { // between the end and the removal
		for n, more := 1, true; more; n++ {
			t.Run(fmt.Sprintf("pushed=%t/%d", pushed, n), func(t *testing.T) {
				f := newFixture(t)
				changes := 0
				dying := storetest.WithHook(f.Store, func(string, string) error {
					if changes++; changes >= n {
						return errDied
					}
					return nil
				})
				id := f.ID()
				index := &job.Index{
					JobID: id, JobName: id.Name(), CreatedAt: id.Created(), Telemetry: &job.Telemetry{Source: job.ByForm},
					Spec: job.Spec{Runtime: "python", Entrypoint: "a.py", TTLSecondsAfterFinished: 60},
				}
				accepted := f.liveOn(ledger.New(dying, f.Now).Reporting(), index, pushed)
				more = changes >= n
				f.recover(index)
				f.push()
				if accepted {
					f.want(1, 1)
				} else if got := f.collector.numbers["gojob_jobs_finished_totalCompleted,Succeeded,python"]; got != 0 {
					t.Errorf("a job that was not accepted has ended %v times", got)
				}
				if left := f.left(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			})
		}
	}
}

// liveOn is the life of a job as far as the process comes. It reports whether the job was accepted.
func (f *fixture) liveOn(l *ledger.Ledger, index *job.Index, pushed bool) (accepted bool) {
	ctx, id := f.T.Context(), index.JobID
	if l.BeginUpload(ctx, id) != nil || l.Accept(ctx, index) != nil {
		return false
	}
	if f.end(l, index) != nil {
		return true
	}
	if pushed {
		f.push()
	}
	_ = l.Remove(ctx, id)
	return true
}

func (f *fixture) end(l *ledger.Ledger, index *job.Index) error {
	ctx := f.T.Context()
	a, err := l.StartAttempt(ctx, index.JobID, 1, "test", nil)
	if errors.Is(err, job.ErrExists) {
		a, err = l.StartedBy(ctx, index.JobID, 1, "test")
	}
	if err != nil {
		return err
	}
	end := a.StartedAt.Add(time.Second)
	a.FinishedAt, a.Reason = &end, job.ReasonCompleted
	if err := l.EndAttempt(ctx, index.JobID, a); err != nil {
		return err
	}
	_, _, err = l.Finish(ctx, index, job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted,
		StartedAt: &a.StartedAt, FinishedAt: end, Attempts: []job.Attempt{a}})
	return err
}

// recover is what others do after the crash: they remove what was not accepted, and end what was.
func (f *fixture) recover(index *job.Index) {
	f.T.Helper()
	f.now = f.now.Add(3 * time.Hour)
	_, err := f.Ledger.SweepUploads(f.T.Context(), time.Hour)
	f.Must(err)
	if _, err := f.Ledger.Index(f.T.Context(), index.JobID); err == nil {
		f.Must(f.end(f.Ledger, index))
	}
	_, err = f.Ledger.RemoveExpired(f.T.Context())
	f.Must(err)
}

// TestRemovalMeetsCount has a job counted just when its removal gives the entry content.
func TestRemovalMeetsCount(t *testing.T) {
	for _, after := range []bool{false, true} { // whether it is counted after the entry has content
		f := newFixture(t)
		index := f.submit()
		f.run(index)
		pushed := 0
		met := storetest.WithHook(f.Store, func(op, key string) error {
			isEntry := op == "put" && ledger.ReportEntry(key).Ended()
			if !after && isEntry || after && op == "create" && key == ledger.Reserved+"removing/"+string(index.JobID) {
				pushed++
				f.push()
			}
			return nil
		})
		f.Must(ledger.New(met, f.Now).Reporting().Remove(t.Context(), index.JobID))
		f.now = f.now.Add(time.Minute)
		f.push()
		if pushed != 1 {
			t.Errorf("counted %d times meanwhile", pushed)
		}
		f.want(1, 1)
		if left := f.left(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// TestCosts makes sure that a job costs one change more to accept and one to end, and nothing where no
// collector is configured.
func TestCosts(t *testing.T) {
	changes := map[bool]int{}
	for _, reports := range []bool{false, true} {
		f := newFixture(t)
		l := ledger.New(storetest.WithHook(f.Store, func(string, string) error {
			changes[reports]++
			return nil
		}), f.Now)
		if reports {
			l = l.Reporting()
		}
		id := f.ID()
		index := &job.Index{JobID: id, JobName: id.Name(), CreatedAt: id.Created()}
		f.Must(l.BeginUpload(t.Context(), id))
		f.Must(l.Accept(t.Context(), index))
		f.Must(f.end(l, index))
		if !reports && len(f.left()) > 0 {
			t.Errorf("entries without a collector: %q", f.left())
		}
	}
	if changes[true]-changes[false] != 2 {
		t.Errorf("changes by whether there is a collector: %v", changes)
	}
}
