package ledger

import (
	"context"
	"errors"
	"time"

	"go-job-orchestrator/shared/job"
)

// StartAttempt claims attempt number n (from 1) of a job for its caller, before any of the user's
// code runs. An error of kind job.ErrExists means that someone else has it: the caller must not run
// it. owner tells claims of one attempt apart.
func (l *Ledger) StartAttempt(
	ctx context.Context, id job.ID, n int, owner string, limits *job.Limits,
) (job.Attempt, error) {
	return l.StartPrepared(ctx, id, n, owner, limits, nil)
}

// StartPrepared is StartAttempt for an attempt whose packages were installed before it: its time
// counts from then on. from may be nil.
func (l *Ledger) StartPrepared(
	ctx context.Context, id job.ID, n int, owner string, limits *job.Limits, from *time.Time,
) (job.Attempt, error) {
	a := job.Attempt{Number: n, StartedAt: l.now().UTC(), Limits: limits, PreparedFrom: from}
	if err := l.store.Mark(ctx, running+string(id)); err != nil {
		return a, err
	}
	if n == 1 {
		if err := l.enqueue(ctx, id, startedStage, attemptKey(id, 1, "start")); err != nil {
			return a, err
		}
	}
	if err := l.create(ctx, attemptKey(id, n, "start"), startRecord{a, owner}); err != nil {
		return a, err
	}
	l.observeStart(id, a)
	if n == 1 {
		l.publishStart(ctx, id, a)
	}
	return a, nil
}

// BeginPreparing records that the packages of a job are being installed. It may be called again.
func (l *Ledger) BeginPreparing(ctx context.Context, id job.ID) error {
	return l.store.Mark(ctx, preparingKey(id))
}

// preparing reports whether the packages of a job are, or were, installed.
func (l *Ledger) preparing(ctx context.Context, id job.ID) (bool, error) {
	return l.store.Exists(ctx, preparingKey(id))
}

// startRecord is an attempt's claim.
type startRecord struct {
	job.Attempt
	Owner string `json:"owner"`
}

// EndAttempt records how an attempt ended.
func (l *Ledger) EndAttempt(ctx context.Context, id job.ID, a job.Attempt) error {
	err := l.create(ctx, attemptKey(id, a.Number, "end"), a)
	if errors.Is(err, job.ErrExists) {
		return nil
	}
	if err == nil && l.observer != nil {
		l.observer.AttemptEnded(a.Reason)
	}
	return err
}

// Attempts returns the attempts made so far, in order. Only the last can lack its end.
func (l *Ledger) Attempts(ctx context.Context, id job.ID) ([]job.Attempt, error) {
	attempts := []job.Attempt{}
	for n := 1; ; n++ {
		var a job.Attempt
		err := l.read(ctx, attemptKey(id, n, "end"), &a)
		if errors.Is(err, job.ErrNotFound) {
			err = l.read(ctx, attemptKey(id, n, "start"), &a)
		}
		if errors.Is(err, job.ErrNotFound) {
			return attempts, nil
		}
		if err != nil {
			return nil, err
		}
		attempts = append(attempts, a)
	}
}
