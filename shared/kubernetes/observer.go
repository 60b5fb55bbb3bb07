package kubernetes

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// Observer finds out how jobs fare that no agent has reported the end of, and records what it finds to be over.
type Observer struct {
	client *Client
	ender  *ending.Ender
}

// OpenObserver returns the observer of the cluster that this process runs in.
func OpenObserver(env *platform.Env) (*Observer, error) {
	e, enderErr := openEnder(env)
	client, err := openClient(env)
	if err := errors.Join(enderErr, err); err != nil {
		return nil, err
	}
	return NewObserver(client, e), nil
}

// NewObserver returns an Observer.
func NewObserver(c *Client, e *ending.Ender) *Observer { return &Observer{client: c, ender: e} }

// Stopper returns a Stopper for the same cluster.
func (o *Observer) Stopper() *Stopper { return NewStopper(o.client) }

// Stop is that of Stopper.
func (o *Observer) Stop(ctx context.Context, id job.ID, remove bool) error {
	return o.Stopper().Stop(ctx, id, remove)
}

// GiveUp ends a job that cannot start, for the reason that was observed. The record comes first: a pod that starts all the same after it finds
// that there is nothing to do.
func (o *Observer) GiveUp(ctx context.Context, id job.ID, why job.Observation) error {
	index, err := o.ender.Ledger.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	over, err := o.ender.Job(ctx, index, &executor.Verdict{Over: true, Phase: job.Failed, Reason: why.Reason, Message: why.Message})
	if err != nil || !over {
		return err
	}
	return o.Stop(ctx, id, false)
}

// Observe looks at what Kubernetes has of a job: one call while it runs or waits, two or three when its pod is gone or was never made.
func (o *Observer) Observe(ctx context.Context, id job.ID) (job.Observation, error) {
	index, err := o.ender.Ledger.Index(ctx, id)
	if err != nil {
		return job.Observation{}, err
	}
	if over, err := o.ender.Job(ctx, index, nil); over || err != nil {
		return job.Observation{Over: over}, err
	}
	// The records are read before Kubernetes is asked: what an agent reports in between stands, since the first record does.
	attempts, err := o.ender.Ledger.Attempts(ctx, id)
	if err != nil {
		return job.Observation{}, err
	}
	owner := ""
	if n := len(attempts); n > 0 && attempts[n-1].FinishedAt == nil {
		if owner, err = o.ender.Ledger.Owner(ctx, id, n); err != nil {
			return job.Observation{}, err
		}
	}
	s, err := o.look(ctx, index.JobName, owner)
	if err != nil {
		return job.Observation{}, err
	}
	return o.conclude(ctx, index, attempts, s.translate(owner, len(attempts)))
}

// look gathers what there is to be seen.
func (o *Observer) look(ctx context.Context, name, owner string) (*sight, error) {
	s := &sight{}
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

// conclude records what the finding says is over.
func (o *Observer) conclude(ctx context.Context, index *job.Index, attempts []job.Attempt, f finding) (job.Observation, error) {
	if f.ended != nil {
		n := len(attempts) - 1
		a, err := o.complete(ctx, index, attempts[n], f.ended)
		if err != nil {
			return job.Observation{}, err
		}
		attempts[n] = a
		if over, err := o.ender.Attempt(ctx, index, a); over || err != nil {
			return job.Observation{Over: over}, err
		}
	}
	if f.final != nil {
		if n := len(attempts); n > 0 && f.final.Reason != job.ReasonDeadlineExceeded { // what is recorded of it is known better
			f.final.Reason, f.final.Message = attempts[n-1].Reason, attempts[n-1].Message
		}
		if over, err := o.ender.Job(ctx, index, f.final); over || err != nil {
			return job.Observation{Over: over}, err
		}
	}
	return f.Observation, nil
}

// complete puts together what Kubernetes knows of the end of an attempt and what its agent could still report.
func (o *Observer) complete(ctx context.Context, index *job.Index, begun job.Attempt, seen *job.Attempt) (job.Attempt, error) {
	r, err := o.ender.Ledger.Report(ctx, index.JobID, begun.Number)
	if errors.Is(err, job.ErrNotFound) {
		r = &ledger.Report{}
	} else if err != nil {
		return job.Attempt{}, err
	}
	a := begun
	a.Reason, a.Message, a.FinishedAt, a.ExitCode, a.Signal = seen.Reason, seen.Message, seen.FinishedAt, seen.ExitCode, seen.Signal
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
		now := o.ender.Now().UTC()
		a.FinishedAt = &now
	}
	return a, nil
}
