// Package ending brings a job to its end once its records say that it is over. It is the same for
// everybody who learns of that: who receives an agent's report, and who has looked at Kubernetes.
package ending

import (
	"context"
	"errors"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/store"
)

// Ender ends jobs. Its methods may be called by several at once, and again after a crash.
type Ender struct {
	Ledger *ledger.Ledger
	Store  *store.Store
	Now    func() time.Time
}

// Attempt records how an attempt ended, and the end of the job if none follows. It reports whether
// the job is over.
func (e *Ender) Attempt(ctx context.Context, index *job.Index, a job.Attempt) (over bool, err error) {
	if err := e.Ledger.EndAttempt(ctx, index.JobID, a); err != nil {
		return false, err
	}
	return e.Job(ctx, index, nil)
}

// Conclusion tells how a job has ended whose attempts are these, or nil when it has not. Where they
// do not say so, last, if it is not nil, tells that none follows all the same, and why. It writes
// nothing.
func (e *Ender) Conclusion(
	ctx context.Context, index *job.Index, attempts []job.Attempt, last *executor.Verdict,
) (*job.Terminal, error) {
	cancelled, err := e.Ledger.CancelRequested(ctx, index.JobID)
	if err != nil {
		return nil, err
	}
	v := executor.Judge(index, attempts, cancelled, e.Now())
	switch {
	case v.Over:
	case last == nil || v.Running:
		return nil, nil //nolint:nilnil // it is not over
	default:
		v = *last
	}
	t := v.Terminal(attempts, e.Now())
	t.JobID, t.ExpiresAt = index.JobID, index.Expiry(t.FinishedAt)
	return &t, nil
}

// Job records the end of a job, if its Conclusion is that it is over, and reports whether it is.
func (e *Ender) Job(ctx context.Context, index *job.Index, last *executor.Verdict) (over bool, err error) {
	attempts, err := e.Ledger.Attempts(ctx, index.JobID)
	if err != nil {
		return false, err
	}
	t, err := e.Conclusion(ctx, index, attempts, last)
	if err != nil || t == nil {
		return false, err
	}
	if t.Outputs, err = e.outputs(ctx, index.JobID, len(attempts), t.Outputs); err != nil {
		return false, err
	}
	if _, _, err := e.Ledger.Finish(ctx, index, *t); err != nil {
		return false, err
	}
	return true, logstore.Retire(ctx, e.Store, index.JobID)
}

// outputs makes the outputs of the last attempt the job's, if an agent reported any, and returns
// their summary.
func (e *Ender) outputs(ctx context.Context, id job.ID, attempt int, summary *job.Outputs) (*job.Outputs, error) {
	recorded, err := e.Ledger.OutputsRecorded(ctx, id)
	if err != nil || recorded {
		return summary, err
	}
	r, err := e.Ledger.Report(ctx, id, attempt)
	if errors.Is(err, job.ErrNotFound) {
		// What an earlier attempt stored is not how the log ends; the segments go on from there.
		if err := logstore.RemoveWhole(ctx, e.Store, id); err != nil {
			return nil, err
		}
		return nil, nil //nolint:nilnil // there are none
	}
	if err != nil {
		return nil, err
	}
	return r.Attempt.Outputs, e.Ledger.PutOutputs(ctx, id, r.Files)
}
