// Package ending records the end of a job once its attempts say that it is over. The function that
// receives an agent's report and the observer of Kubernetes both end jobs by it.
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

// Recorder records ends. Its methods may be called by several at once, and again after a crash.
type Recorder struct {
	Ledger *ledger.Ledger
	Store  *store.Store
	Now    func() time.Time
}

// Attempt records how an attempt ended, and the end of the job if no other attempt follows. It
// reports whether the job is over.
func (r *Recorder) Attempt(ctx context.Context, index *job.Index, a job.Attempt) (over bool, err error) {
	if err := r.Ledger.EndAttempt(ctx, index.JobID, a); err != nil {
		return false, err
	}
	return r.Job(ctx, index, nil)
}

// Terminal returns how a job with these attempts has ended, or nil when it has not. If last is not
// nil it is the verdict for a job that is over although its attempts do not say so. Terminal writes
// nothing.
func (r *Recorder) Terminal(
	ctx context.Context, index *job.Index, attempts []job.Attempt, last *executor.Verdict,
) (*job.Terminal, error) {
	cancelled, err := r.Ledger.CancelRequested(ctx, index.JobID)
	if err != nil {
		return nil, err
	}
	v := executor.Judge(index, attempts, cancelled, r.Now())
	switch {
	case v.Over:
	case last == nil || v.Running:
		return nil, nil //nolint:nilnil // it is not over
	default:
		v = *last
	}
	t := v.Terminal(attempts, r.Now())
	t.JobID, t.ExpiresAt = index.JobID, index.Expiry(t.FinishedAt)
	return &t, nil
}

// Job records the end of a job if Terminal says that it is over, and reports whether it is.
func (r *Recorder) Job(ctx context.Context, index *job.Index, last *executor.Verdict) (over bool, err error) {
	attempts, err := r.Ledger.Attempts(ctx, index.JobID)
	if err != nil {
		return false, err
	}
	t, err := r.Terminal(ctx, index, attempts, last)
	if err != nil || t == nil {
		return false, err
	}
	if t.Outputs, err = r.outputs(ctx, index.JobID, len(attempts), t.Outputs); err != nil {
		return false, err
	}
	if _, _, err := r.Ledger.Finish(ctx, index, *t); err != nil {
		return false, err
	}
	return true, logstore.Retire(ctx, r.Store, index.JobID)
}

// outputs makes the outputs of the last attempt those of the job, if an agent reported any, and
// returns their summary.
func (r *Recorder) outputs(ctx context.Context, id job.ID, attempt int, summary *job.Outputs) (*job.Outputs, error) {
	recorded, err := r.Ledger.OutputsRecorded(ctx, id)
	if err != nil || recorded {
		return summary, err
	}
	report, err := r.Ledger.Report(ctx, id, attempt)
	if errors.Is(err, job.ErrNotFound) {
		// The whole log that an earlier attempt stored is not the end of the log, which goes on in
		// segments.
		if err := logstore.RemoveWhole(ctx, r.Store, id); err != nil {
			return nil, err
		}
		return nil, nil //nolint:nilnil // there are none
	}
	if err != nil {
		return nil, err
	}
	return report.Attempt.Outputs, r.Ledger.PutOutputs(ctx, id, report.Files)
}
