package ledger

import (
	"context"
	"errors"
	"fmt"

	"go-job-orchestrator/shared/job"
)

// Owner returns who claimed the attempt.
func (l *Ledger) Owner(ctx context.Context, id job.ID, n int) (string, error) {
	var record startRecord
	err := l.read(ctx, attemptKey(id, n, "start"), &record)
	return record.Owner, err
}

// Report is what an agent saw of the end of an attempt for which somebody else knows the reason:
// that its container was stopped from outside, or its program killed.
type Report struct {
	Attempt job.Attempt `json:"attempt"`
	// Files are the outputs it stored, as in agentwire.Manifest.
	Files []job.File `json:"files"`
}

// PutReport keeps a report until the attempt is ended. The first one stands.
func (l *Ledger) PutReport(ctx context.Context, id job.ID, r Report) error {
	err := l.create(ctx, attemptKey(id, r.Attempt.Number, "report"), r)
	if errors.Is(err, job.ErrExists) {
		return nil
	}
	return err
}

// Report returns the report on an attempt, or an error of kind job.ErrNotFound.
func (l *Ledger) Report(ctx context.Context, id job.ID, n int) (*Report, error) {
	var r Report
	if err := l.read(ctx, attemptKey(id, n, "report"), &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Reported returns the report on the last attempt of a job whose end nobody has recorded yet, if no
// attempt can follow: what it says of outputs is what will be recorded. Otherwise the error is of
// kind job.ErrNotFound.
func (l *Ledger) Reported(ctx context.Context, index *job.Index) (*Report, error) {
	attempts, err := l.Attempts(ctx, index.JobID)
	if err != nil {
		return nil, err
	}
	n := len(attempts)
	if n <= index.Retries || attempts[n-1].FinishedAt != nil {
		return nil, fmt.Errorf("report on job %s: %w", index.JobID, job.ErrNotFound)
	}
	return l.Report(ctx, index.JobID, n)
}

// StartedBy returns the attempt if owner is who claimed it; otherwise the error is of kind
// job.ErrExists.
func (l *Ledger) StartedBy(ctx context.Context, id job.ID, n int, owner string) (job.Attempt, error) {
	var record startRecord
	if err := l.read(ctx, attemptKey(id, n, "start"), &record); err != nil {
		return job.Attempt{}, err
	}
	if record.Owner != owner {
		return job.Attempt{}, fmt.Errorf("attempt %d of job %s is another's: %w", n, id, job.ErrExists)
	}
	return record.Attempt, nil
}
