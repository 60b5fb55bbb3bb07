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
	why, err := l.why(ctx, index, attempts)
	if err != nil {
		return nil, err
	}
	return begun(index, attempts, why), nil
}

// why is the reason of a job that is not over.
func (l *Ledger) why(ctx context.Context, index *job.Index, attempts []job.Attempt) (job.Reason, error) {
	if len(attempts) == 0 {
		preparing, err := l.preparing(ctx, index.JobID)
		if preparing {
			return job.ReasonPreparing, err
		}
		return job.ReasonQueued, err
	}
	retrying, err := l.retrying(ctx, index, attempts)
	if retrying {
		return job.ReasonRetrying, err
	}
	return "", err
}

// retrying reports whether the last attempt is over and another will follow. Only then is that
// said: a job that has come to its end is for a moment one whose end is not recorded yet.
func (l *Ledger) retrying(ctx context.Context, index *job.Index, attempts []job.Attempt) (bool, error) {
	n := len(attempts)
	over := n > 0 && attempts[n-1].FinishedAt != nil
	if !over || !index.MayRetry(n, attempts[n-1].Reason, attempts[n-1].ExitCode) || index.TimeUp(attempts, l.now()) {
		return false, nil
	}
	cancelled, err := l.CancelRequested(ctx, index.JobID)
	return !cancelled, err
}

// Watch returns a channel that has a value once this process has changed what Status returns of the
// job; what other processes change is not told. leave is to be called by who does not watch any
// longer.
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
func begun(index *job.Index, attempts []job.Attempt, why job.Reason) *job.Status {
	s := newStatus(index)
	s.Attempts = append(s.Attempts, attempts...)
	progress(&s.Summary, attempts, why)
	s.Message = message(s.Reason)
	return s
}

func newStatus(index *job.Index) *job.Status {
	s := &job.Status{
		Summary: newSummary(index), Entrypoint: index.Entrypoint, Args: index.Args, Image: index.Image,
		Profile: index.Profile, CPU: index.CPU, Memory: index.Memory, TimeoutSeconds: index.TimeoutSeconds,
		Retries: index.Retries, RetryOn: index.RetryOn, Dependencies: index.Dependencies,
		Template: index.Template, RerunOf: index.RerunOf,
		Files: index.Files, Stdin: index.Stdin, Inferred: index.Inferred, Attempts: []job.Attempt{},
	}
	if index.Queue != "" {
		s.Queue = &job.Queue{Name: index.Queue}
	}
	if s.Args == nil {
		s.Args = []string{}
	}
	for _, one := range index.Secrets {
		s.Secrets = append(s.Secrets, job.Secret{Name: one.Name, From: one.From})
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
	if err != nil {
		return nil, err
	}
	why, err := l.why(ctx, index, attempts)
	progress(&s, attempts, why)
	return &s, err
}

func newSummary(index *job.Index) job.Summary {
	return job.Summary{
		JobID: index.JobID, JobName: index.JobName, Namespace: index.Namespace, Name: index.Name,
		Runtime: index.Runtime, Owner: index.Owner, Labels: index.Labels, CreatedAt: index.CreatedAt,
	}
}

// progress fills in what the attempts of a job that is not over say.
func progress(s *job.Summary, attempts []job.Attempt, why job.Reason) {
	s.Phase, s.Reason = job.Pending, why
	if len(attempts) > 0 {
		s.Phase, s.StartedAt, s.PreparedFrom = job.Running, &attempts[0].StartedAt, attempts[0].PreparedFrom
	}
}

// message explains the reason of a job that is not over.
func message(r job.Reason) string {
	switch r {
	case job.ReasonQueued:
		return "waiting for a free place to run"
	case job.ReasonPreparing:
		return "the packages that the program needs are being installed"
	case job.ReasonRetrying:
		return "the last attempt failed; the next one will follow"
	}
	return ""
}
