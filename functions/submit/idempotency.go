package submit

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

// How often, and for how long, a request looks what becomes of another with the same key that is
// just being accepted: that takes a few writes.
const (
	claimPause = 20 * time.Millisecond
	claimTries = 150
)

// claim claims the job's idempotency key, or returns the job that has it.
func (f *Function) claim(ctx context.Context, index *job.Index, print string) (earlier *job.Index, err error) {
	for range claimTries {
		var owner job.ID
		owner, err = f.Events.Ledger.ClaimKey(ctx, index.IdempotencyKey, print, index.JobID)
		if err == nil && owner == index.JobID {
			return nil, nil //nolint:nilnil // no earlier job
		}
		if err == nil {
			earlier, err = f.Events.Ledger.Index(ctx, owner)
		}
		// Not found: the other was given up, or its job removed, between two reads.
		if !errors.Is(err, job.ErrUnavailable) && !errors.Is(err, job.ErrNotFound) {
			return earlier, err
		}
		time.Sleep(claimPause)
	}
	return nil, errors.Join(job.ErrUnavailable, err)
}

// fingerprint tells whether two requests ask for the same. It does not see how the form was
// encoded, whose boundary differs each time, nor the order of its parts.
func fingerprint(index *job.Index) (string, error) {
	files := slices.SortedFunc(slices.Values(index.Files),
		func(a, b job.File) int { return strings.Compare(a.Name, b.Name) })
	for i := range files { // it follows from the rest, and keys of earlier versions must keep their meaning
		files[i].Mode = ""
	}
	data, err := json.Marshal(struct { // maps are encoded in the order of their keys
		Spec  job.Spec   `json:"spec"`
		Files []job.File `json:"files"`
	}{index.Spec, files})
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

const maxKeyBytes = 255

// idempotencyKey returns the hash of the request's Idempotency-Key in a scope, or "". Keys of
// different scopes never meet. Where nobody has to prove who they are, the key is what proves that
// a request is sent again by whoever got the first answer.
func idempotencyKey(r *http.Request, scope ledger.Scope, parts ...string) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", api.BadRequest("Idempotency-Key", "was sent more than once")
	case values[0] == "" || len(values[0]) > maxKeyBytes:
		return "", api.BadRequest("Idempotency-Key", fmt.Sprintf("must have 1 to %d characters, such as a UUID", maxKeyBytes))
	}
	return ledger.HashKey(scope, append(parts, values[0])...), nil
}
