package ledger

import (
	"context"
	"fmt"

	"go-job-orchestrator/shared/job"
)

// StartedBy returns the attempt if owner is who claimed it; otherwise the error is of kind job.ErrExists.
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
