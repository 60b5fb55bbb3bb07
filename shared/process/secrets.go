package process

import (
	"context"
	"errors"
	"fmt"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
)

// errSecrets is what the user of a job is told whose secrets cannot be opened.
var errSecrets = errors.New("the secrets of the job cannot be opened, and the server's log says why; " +
	"send the job again")

// openSecrets returns the values of a job's secrets, right before its program starts. The error is a
// message for the job's user.
func (r *runner) openSecrets(ctx context.Context, index *job.Index) (map[string]string, error) {
	values := map[string]string{}
	if secret.HasOwn(index.Secrets) {
		sealed, err := r.ledger.Secrets(ctx, index.JobID)
		if err == nil {
			values, err = secret.Open(sealed, r.keys, index)
		}
		if err != nil {
			r.log.ErrorContext(ctx, "secrets not opened; the attempt fails", "job", index.JobID, "error", err)
			return nil, errSecrets
		}
	}
	for _, one := range index.Secrets {
		if one.From == "" {
			continue
		}
		if r.secrets == nil {
			return nil, fmt.Errorf("%s: the operator offers no secrets any more", job.SecretField(one.Name))
		}
		value, err := r.secrets.Value(one.From, access.Role(one.Role))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", job.SecretField(one.Name), err)
		}
		values[one.Name] = value
	}
	return values, nil
}
