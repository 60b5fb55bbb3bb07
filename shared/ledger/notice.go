package ledger

import (
	"context"
	"errors"
	"time"

	"go-job-orchestrator/shared/job"
)

// SubmitNotice says that the job was accepted.
func SubmitNotice(index *job.Index) job.Notice {
	return newNotice(index, job.StepSubmitted, index.CreatedAt, begun(index, nil, job.ReasonQueued))
}

// startNotice is the same whenever it is made, also when the attempt has ended by then: what an
// event says must not change when it is sent again.
func startNotice(index *job.Index, first job.Attempt) job.Notice {
	s := begun(index, []job.Attempt{{Number: first.Number, StartedAt: first.StartedAt, Limits: first.Limits}}, "")
	return newNotice(index, job.StepStarted, first.StartedAt, s.At(job.Running))
}

func endNotice(index *job.Index, t *job.Terminal) job.Notice {
	return newNotice(index, job.EndOf(t.Phase), t.FinishedAt, ended(index, t))
}

// newNotice leaves the names of secrets out: events go to more people than the job's owner.
func newNotice(index *job.Index, step job.Step, at time.Time, s *job.Status) job.Notice {
	s.Secrets = nil
	return job.Notice{Step: step, At: at, Status: s, Trace: index.In(job.SpanRun, 0), Hops: index.Hops}
}

// notice returns what the records say of a step of a job, and nil while the step is not recorded.
func (l *Ledger) notice(ctx context.Context, index *job.Index, s stage) (*job.Notice, error) {
	var n job.Notice
	switch s {
	case submittedStage:
		n = SubmitNotice(index)
	case startedStage:
		var first startRecord
		if err := l.read(ctx, attemptKey(index.JobID, 1, "start"), &first); err != nil {
			return unlessMissing(err)
		}
		n = startNotice(index, first.Attempt)
	case endedStage:
		t, err := l.Terminal(ctx, index.JobID)
		if err != nil {
			return unlessMissing(err)
		}
		n = endNotice(index, t)
	default:
		return nil, nil //nolint:nilnil // records of a job say nothing of its removal
	}
	return &n, nil
}

func unlessMissing(err error) (*job.Notice, error) {
	if errors.Is(err, job.ErrNotFound) {
		return nil, nil //nolint:nilnil // there is no such record
	}
	return nil, err
}
