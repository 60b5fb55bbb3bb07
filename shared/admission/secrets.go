package admission

import (
	"context"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
)

// CheckSecrets adds the faults of a job's secrets to those that err has. Any other error is returned
// as it is.
func (c *Controller) CheckSecrets(ctx context.Context, spec *job.Spec, set secret.Set, err error) error {
	found := &job.Faults{Kind: job.ErrInvalid, List: set.Check(spec)}
	if set.HasReferences() {
		entries, err := c.secrets.Entries(ctx)
		if err != nil {
			return err
		}
		found.List = append(found.List, set.CheckReferences(entries)...)
	}
	if len(found.List) == 0 {
		return err
	}
	if failed := found.Prepend(err); failed != nil {
		return failed
	}
	return found
}

// prints returns the fingerprints that the claim of an idempotency key may have: the first is
// recorded. Only the secrets that the request itself has count, as a code under the token keys, so
// that what is stored tells nothing of them. Codes under older keys are those of claims from before a
// rotation.
func (c *Controller) prints(print string, sent secret.Set) ([]string, error) {
	codes := sent.Fingerprints(c.keys)
	if codes == nil {
		return []string{print}, nil
	}
	prints := make([]string, len(codes))
	for i, code := range codes {
		var err error
		if prints[i], err = Digest([]string{print, code}); err != nil {
			return nil, err
		}
	}
	return prints, nil
}

// accept stores the sealed secrets of a job and accepts it.
func (c *Controller) accept(ctx context.Context, index *job.Index, d Draft) error {
	sealed, err := d.Secrets.Seal(c.keys, index.JobID)
	if err != nil {
		return err
	}
	if sealed != nil {
		if err := c.records.PutSecrets(ctx, index.JobID, sealed); err != nil {
			return err
		}
	}
	return c.records.Accept(ctx, index)
}
