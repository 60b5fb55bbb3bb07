package admission

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

const maxKeyBytes = 255

// Key returns the hash of the request's Idempotency-Key in a scope, or "". Keys of different scopes
// and of different owners never meet. Where nobody has to prove who they are, the key is what proves
// that the sender of a repeated request is the one who got the first answer.
func Key(r *http.Request, scope ledger.Scope, owner string, parts ...string) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", api.BadRequest("Idempotency-Key", "was sent more than once")
	case values[0] == "" || len(values[0]) > maxKeyBytes:
		return "", api.BadRequest("Idempotency-Key", fmt.Sprintf("must have 1 to %d characters, such as a UUID", maxKeyBytes))
	}
	if owner != job.LocalOwner { // whose keys must keep their hashes from before there were owners
		parts = append([]string{"owner", owner}, parts...)
	}
	return ledger.HashKey(scope, append(parts, values[0])...), nil
}

// Digest is a hash of the JSON of a value.
func Digest(value any) (string, error) {
	data, err := json.Marshal(value) // maps are encoded in the order of their keys
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// Fingerprint tells whether two requests ask for the same. It does not depend on how the form was
// encoded, whose boundary differs each time, nor on the order of its parts.
func Fingerprint(spec job.Spec, files []job.File, stdin *job.File) (string, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b job.File) int { return strings.Compare(a.Name, b.Name) })
	for i := range files { // it follows from the rest, and keys of earlier versions must keep their meaning
		files[i].Mode = ""
	}
	return Digest(struct {
		Spec  job.Spec   `json:"spec"`
		Files []job.File `json:"files"`
		Stdin *job.File  `json:"stdin,omitempty"`
	}{spec, files, stdin})
}

// recordKeyed accepts the job, unless its idempotency key belongs to one that was accepted before:
// then it returns that one.
func (c *Controller) recordKeyed(ctx context.Context, index *job.Index, d Draft) (*job.Index, error) {
	if index.IdempotencyKey == "" {
		return index, c.accept(ctx, index, d)
	}
	print := d.Fingerprint
	if print == "" {
		var err error
		if print, err = Fingerprint(index.Spec, index.Files, index.Stdin); err != nil {
			return nil, err
		}
	}
	prints, err := c.prints(print, d.Secrets)
	if err != nil {
		return nil, err
	}
	earlier, err := c.claim(ctx, index, prints)
	if earlier != nil || err != nil {
		return earlier, err
	}
	if err := c.accept(ctx, index, d); err != nil {
		if releaseErr := c.records.ReleaseKey(ctx, index.IdempotencyKey, index.JobID); releaseErr != nil {
			c.log.WarnContext(ctx, "idempotency key not released", "job", index.JobID, "error", releaseErr)
		}
		if errors.Is(err, job.ErrExists) {
			return nil, job.Refuse(job.ErrExists, "Idempotency-Key",
				"belongs to another request by now, since this one took so long; send it again to get that one's job")
		}
		return nil, err
	}
	return index, nil
}

// How often, and with which pause, a request looks again at another one with the same key that is
// just being accepted. That takes a few writes.
const (
	claimPause = 20 * time.Millisecond
	claimTries = 150
)

// claim claims the job's idempotency key, or returns the job that has it.
func (c *Controller) claim(ctx context.Context, index *job.Index, prints []string) (earlier *job.Index, err error) {
	for range claimTries {
		var owner job.ID
		owner, err = c.records.ClaimKey(ctx, index.IdempotencyKey, prints[0], index.JobID, prints[1:]...)
		if err == nil && owner == index.JobID {
			return nil, nil //nolint:nilnil // no earlier job
		}
		if err == nil {
			earlier, err = c.records.Index(ctx, owner)
		}
		// Not found: the other was given up, or its job removed, between two reads.
		if !errors.Is(err, job.ErrUnavailable) && !errors.Is(err, job.ErrNotFound) {
			return earlier, err
		}
		time.Sleep(claimPause)
	}
	return nil, errors.Join(job.ErrUnavailable, err)
}
