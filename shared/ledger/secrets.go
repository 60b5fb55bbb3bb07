package ledger

import (
	"context"

	"go-job-orchestrator/shared/job"
)

// secretsKey is where the sealed secrets of a job lie until it is over. It is no file of the job's
// folder, so nobody can download it.
func secretsKey(id job.ID) string { return runPrefix(id) + "secrets" }

// PutSecrets stores the sealed secrets of a job that is not accepted yet.
func (l *Ledger) PutSecrets(ctx context.Context, id job.ID, sealed []byte) error {
	return l.store.Create(ctx, secretsKey(id), sealed)
}

// Secrets returns the sealed secrets of a job, or an error of kind job.ErrNotFound if it has none,
// or is over.
func (l *Ledger) Secrets(ctx context.Context, id job.ID) ([]byte, error) {
	return l.store.Read(ctx, secretsKey(id))
}
