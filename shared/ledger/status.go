package ledger

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/job"
)

// Status returns a job as its owner sees it.
func (l *Ledger) Status(ctx context.Context, id job.ID) (*job.Status, error) {
	index, err := l.Live(ctx, id)
	if err != nil {
		return nil, err
	}
	t, err := l.Terminal(ctx, id)
	if err == nil {
		return ended(index, t), nil
	}
	if !errors.Is(err, job.ErrNotFound) {
		return nil, err
	}
	attempts, err := l.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	return begun(index, attempts), nil
}

// Watch returns a channel that has a value once this process has changed what Status returns of the job; what other processes change is not
// told. leave is to be called by who does not watch any longer.
func (l *Ledger) Watch(id job.ID) (changed <-chan struct{}, leave func()) {
	return l.store.Watch(JobPrefix(id), runPrefix(id))
}

// ended is a job that is over.
func ended(index *job.Index, t *job.Terminal) *job.Status {
	s := newStatus(index)
	s.Conclude(t)
	return s
}

// begun is a job that is not over.
func begun(index *job.Index, attempts []job.Attempt) *job.Status {
	s := newStatus(index)
	s.Attempts = append(s.Attempts, attempts...)
	progress(&s.Summary, attempts)
	s.Message = message(s.Reason)
	return s
}

func newStatus(index *job.Index) *job.Status {
	s := &job.Status{
		Summary: newSummary(index), Entrypoint: index.Entrypoint, Args: index.Args, Image: index.Image, Queue: index.Queue,
		CPU: index.CPU, Memory: index.Memory, TimeoutSeconds: index.TimeoutSeconds, Retries: index.Retries,
		Template: index.Template, Files: index.Files, Attempts: []job.Attempt{},
	}
	if s.Args == nil {
		s.Args = []string{}
	}
	return s
}

// summary returns what lists show of a job, with one read less than Status.
func (l *Ledger) summary(ctx context.Context, id job.ID) (*job.Summary, error) {
	index, err := l.Live(ctx, id)
	if err != nil {
		return nil, err
	}
	s := newSummary(index)
	t, err := l.Terminal(ctx, id)
	if err == nil {
		s.Conclude(t)
		return &s, nil
	}
	if !errors.Is(err, job.ErrNotFound) {
		return nil, err
	}
	attempts, err := l.Attempts(ctx, id)
	progress(&s, attempts)
	return &s, err
}

func newSummary(index *job.Index) job.Summary {
	return job.Summary{
		JobID: index.JobID, JobName: index.JobName, Namespace: index.Namespace, Runtime: index.Runtime,
		Labels: index.Labels, CreatedAt: index.CreatedAt,
	}
}

// progress fills in what the attempts of a job that is not over say.
func progress(s *job.Summary, attempts []job.Attempt) {
	if len(attempts) == 0 {
		s.Phase, s.Reason = job.Pending, job.ReasonQueued
		return
	}
	s.StartedAt = &attempts[0].StartedAt
	s.Phase = job.Running
	if attempts[len(attempts)-1].FinishedAt != nil {
		s.Reason = job.ReasonRetrying
	}
}

// message explains the reason of a job that is not over.
func message(r job.Reason) string {
	switch r {
	case job.ReasonQueued:
		return "waiting for a free place to run"
	case job.ReasonRetrying:
		return "the last attempt ended; either it is being recorded or the next one will follow"
	}
	return ""
}
