package kubernetes

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// Observer finds out how jobs fare that no agent has reported the end of.
type Observer struct {
	client   *Client
	recorder *ending.Recorder
}

// NewObserver returns an Observer.
func NewObserver(c *Client, e *ending.Recorder) *Observer { return &Observer{client: c, recorder: e} }

// GiveUp ends a job that cannot start, for the reason that was observed. The record comes first: a
// pod that starts all the same after it finds that there is nothing to do.
func (o *Observer) GiveUp(ctx context.Context, id job.ID, why job.Observation) error {
	index, err := o.recorder.Ledger.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	over, err := o.recorder.Job(ctx, index, &executor.Verdict{Over: true, Phase: job.Failed, Reason: why.Reason,
		Message: why.Message})
	if err != nil || !over {
		return err
	}
	return NewStopper(o.client).Stop(ctx, id, false)
}

// Observe looks at what Kubernetes has of a job: one call while it runs or waits, two or three when
// its pod is gone or was never made. It writes nothing.
func (o *Observer) Observe(ctx context.Context, id job.ID) (job.Observation, error) {
	s, err := o.assess(ctx, id)
	if err != nil {
		return job.Observation{}, err
	}
	return s.Observation, nil
}

// RecordEnd is Observe, and records the ends that were seen.
func (o *Observer) RecordEnd(ctx context.Context, id job.ID) (job.Observation, error) {
	s, err := o.assess(ctx, id)
	if err != nil {
		return job.Observation{}, err
	}
	if s.Attempt != nil {
		if err := o.recorder.Ledger.EndAttempt(ctx, id, *s.Attempt); err != nil {
			return job.Observation{}, err
		}
	}
	if s.Terminal == nil {
		return s.Observation, nil
	}
	over, err := o.recorder.Job(ctx, s.index, s.final)
	return job.Observation{Over: over}, err
}

// assessed is a job with its assessment.
type assessed struct {
	assessment
	index *job.Index
}

// assess reads the records of a job, and looks at what Kubernetes has of it where those do not say
// that it is over.
func (o *Observer) assess(ctx context.Context, id job.ID) (*assessed, error) {
	index, err := o.recorder.Ledger.Index(ctx, id)
	if err != nil {
		return nil, err
	}
	s := &assessed{index: index}
	if s.Over, err = o.recorder.Ledger.Over(ctx, id); err != nil || s.Over {
		return s, err
	}
	// The records are read before Kubernetes is asked: what an agent reports in between stands, since
	// the first record does.
	attempts, err := o.recorder.Ledger.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.Terminal, err = o.recorder.Terminal(ctx, index, attempts, nil); err != nil || s.Terminal != nil {
		return s, err
	}
	owner := ""
	if n := len(attempts); n > 0 && attempts[n-1].FinishedAt == nil {
		if owner, err = o.recorder.Ledger.Owner(ctx, id, n); err != nil {
			return nil, err
		}
	}
	taken, err := o.snapshot(ctx, index.JobName, owner)
	if err != nil {
		return nil, err
	}
	s.assessment = taken.assess(owner, len(attempts))
	return s, o.deriveEnds(ctx, s, attempts)
}

// snapshot asks the cluster for no more than is needed.
func (o *Observer) snapshot(ctx context.Context, name, owner string) (*snapshot, error) {
	s := &snapshot{}
	var err error
	if s.pods, err = o.client.pods(ctx, name); err != nil {
		return nil, err
	}
	if s.suffices(owner) {
		return s, nil
	}
	if s.job, err = o.client.getJob(ctx, name); errors.Is(err, job.ErrNotFound) {
		s.job = nil
		return s, nil
	}
	if err != nil || len(s.pods) > 0 || s.job.Status.StartTime == nil {
		return s, err
	}
	s.events, err = o.client.events(ctx, name)
	return s, err
}

// deriveEnds finds out which ends of the attempt and of the job follow from the assessment.
func (o *Observer) deriveEnds(ctx context.Context, s *assessed, attempts []job.Attempt) (err error) {
	if s.ended != nil {
		n := len(attempts) - 1
		a, err := o.complete(ctx, s.index, attempts[n], s.ended)
		if err != nil {
			return err
		}
		attempts[n], s.Attempt = a, &a
	}
	if n := len(attempts); s.final != nil && n > 0 && s.final.Reason != job.ReasonDeadlineExceeded {
		s.final.Reason, s.final.Message = attempts[n-1].Reason, attempts[n-1].Message // what is known of it is better
	}
	s.Terminal, err = o.recorder.Terminal(ctx, s.index, attempts, s.final)
	if n := len(attempts); s.Terminal != nil && n <= s.index.Retries {
		s.Terminal.Outputs = nil // they are shown once they are recorded: see ledger.Reported
	}
	return err
}

// complete puts together what Kubernetes knows of the end of an attempt and what its agent could
// still report.
func (o *Observer) complete(
	ctx context.Context, index *job.Index, begun job.Attempt, seen *job.Attempt,
) (job.Attempt, error) {
	r, err := o.recorder.Ledger.Report(ctx, index.JobID, begun.Number)
	if errors.Is(err, job.ErrNotFound) {
		r = &ledger.Report{}
	} else if err != nil {
		return job.Attempt{}, err
	}
	a := begun
	a.Reason, a.Message, a.FinishedAt, a.ExitCode, a.Signal = seen.Reason, seen.Message, seen.FinishedAt, seen.ExitCode,
		seen.Signal
	told := r.Attempt
	if told.FinishedAt != nil {
		a.FinishedAt, a.Outputs = told.FinishedAt, told.Outputs
		if told.ExitCode != nil {
			a.ExitCode, a.Signal = told.ExitCode, told.Signal
		}
		if a.Reason == job.ReasonError || a.Reason == job.ReasonOutputsLost { // all that Kubernetes knows is the exit code
			a.Reason, a.Message = told.Reason, told.Message
		}
	}
	if a.FinishedAt == nil {
		now := o.recorder.Now().UTC()
		a.FinishedAt = &now
	}
	return a, nil
}
