package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// KeyLifetime is how long an idempotency key is remembered.
const KeyLifetime = 24 * time.Hour

// claimGrace is how long the owner of a fresh claim has to write its index before it is taken for
// dead. Between the two lie a few writes.
const claimGrace = 10 * time.Second

type claim struct {
	JobID       job.ID    `json:"jobID"`
	Fingerprint string    `json:"fingerprint"`
	CreatedAt   time.Time `json:"createdAt"`
}

// Scope says whose idempotency keys do not meet those of others.
type Scope string

// The scopes. Those of a template's jobs and versions have the owner in the key as well.
const (
	FormKeys     Scope = "form"     // of jobs from forms
	TemplateKeys Scope = "template" // of jobs from templates
	VersionKeys  Scope = "version"  // of versions of templates
	EventKeys    Scope = "event"    // of events
	RerunKeys    Scope = "rerun"    // of jobs that repeat others, each of which has keys of its own
)

// HashKey returns what is stored of an idempotency key in a scope. Its parts may have any
// characters.
func HashKey(scope Scope, parts ...string) string {
	var b strings.Builder
	for _, part := range append([]string{string(scope)}, parts...) {
		fmt.Fprintf(&b, "%d:%s", len(part), part) // so that no two lists of parts run into the same text
	}
	return hash(b.String())
}

// A key's claims are numbered. A dead or expired one is never deleted by those who compete for the
// key, but followed by the next number: if it were deleted, one of them could delete the other's
// new claim.
func claimPrefix(keyHash string) string { return keys + keyHash + "/claim-" }

func claimKey(keyHash string, n int) string {
	return fmt.Sprintf("%s%06d.json", claimPrefix(keyHash), n)
}

// releasedKey says that the owner of a claim gave it up.
func releasedKey(keyHash string, n int) string {
	return fmt.Sprintf("%s%s/released-%06d", keys, keyHash, n)
}

func goneKey(keyHash string, id job.ID) string { return keys + keyHash + "/gone-" + string(id) }

func dueKey(at time.Time, keyHash string) string {
	return keysDue + fmt.Sprintf("%08x", at.Unix()/3600) + "/" + keyHash
}

// ClaimKey claims an idempotency key for a request with the given fingerprint that is about to
// become job id. It returns id when the claim is new. When the key belongs to an earlier request it
// returns that one's job; the error is of kind job.ErrInvalid when that request had another
// fingerprint, job.ErrGone when its job has been removed and job.ErrUnavailable while it is still
// being accepted. The claim of an earlier request may also have one of the other fingerprints.
func (l *Ledger) ClaimKey(
	ctx context.Context, keyHash, fingerprint string, id job.ID, others ...string,
) (job.ID, error) {
	now := l.now().UTC()
	if err := l.store.Mark(ctx, dueKey(now.Add(KeyLifetime), keyHash)); err != nil {
		return "", err
	}
	owner, err := l.claimKey(ctx, keyHash, append([]string{fingerprint}, others...), id, now)
	if errors.Is(err, job.ErrNotFound) { // a claim that was there is not any more
		return "", job.Refuse(job.ErrUnavailable, "Idempotency-Key", "is just being forgotten; try again in a few seconds")
	}
	return owner, err
}

func (l *Ledger) claimKey(
	ctx context.Context, keyHash string, fingerprints []string, id job.ID, now time.Time,
) (job.ID, error) {
	n, last, err := l.lastClaim(ctx, keyHash)
	if err != nil {
		return "", fmt.Errorf("claim idempotency key: %w", err)
	}
	for ; ; n++ {
		if last == nil {
			err := l.create(ctx, claimKey(keyHash, n), claim{JobID: id, Fingerprint: fingerprints[0], CreatedAt: now})
			if err == nil {
				return id, nil
			}
			if !errors.Is(err, job.ErrExists) {
				return "", err
			}
			last = &claim{}
			if err := l.read(ctx, claimKey(keyHash, n), last); err != nil {
				return "", fmt.Errorf("claim idempotency key: %w", err)
			}
		}
		if now.Sub(last.CreatedAt) < KeyLifetime {
			free, err := l.earlier(ctx, keyHash, fingerprints, n, last)
			if err != nil {
				return "", err
			}
			if !free {
				return last.JobID, nil
			}
		}
		last = nil
	}
}

// Earlier returns the job that has the key already, without claiming it, and nil when there is none
// or none yet. The error is of kind job.ErrGone when that job has been removed.
func (l *Ledger) Earlier(ctx context.Context, keyHash string) (*job.Index, error) {
	n, c, err := l.lastClaim(ctx, keyHash)
	if errors.Is(err, job.ErrNotFound) || err == nil && (c == nil || l.now().Sub(c.CreatedAt) >= KeyLifetime) {
		return nil, nil //nolint:nilnil // no earlier job
	}
	if err != nil {
		return nil, err
	}
	if free, err := l.store.Exists(ctx, releasedKey(keyHash, n)); free || err != nil {
		return nil, err
	}
	index, err := l.Index(ctx, c.JobID)
	if err == nil || !errors.Is(err, job.ErrNotFound) {
		return index, err
	}
	gone, err := l.store.Exists(ctx, goneKey(keyHash, c.JobID))
	if err != nil || !gone {
		return nil, err
	}
	return nil, fmt.Errorf("job %s: %w", c.JobID, job.ErrGone)
}

// lastClaim returns the newest claim of a key and its number, or no claim and the number of the
// first.
func (l *Ledger) lastClaim(ctx context.Context, keyHash string) (int, *claim, error) {
	list, err := l.store.List(ctx, claimPrefix(keyHash), "", sweepBatch)
	if err != nil || len(list) == 0 {
		return 0, nil, err
	}
	var n int
	newest := list[len(list)-1]
	if _, err := fmt.Sscanf(strings.TrimPrefix(newest, claimPrefix(keyHash)), "%06d.json", &n); err != nil {
		return 0, nil, fmt.Errorf("decode %s: %w", newest, err)
	}
	var c claim
	return n, &c, l.read(ctx, newest, &c)
}

// earlier says what became of the request that holds a key. free is true when it came to nothing,
// so that the key is free for another.
func (l *Ledger) earlier(
	ctx context.Context, keyHash string, fingerprints []string, n int, c *claim,
) (free bool, err error) {
	if free, err := l.store.Exists(ctx, releasedKey(keyHash, n)); free || err != nil {
		return free, err
	}
	if !slices.Contains(fingerprints, c.Fingerprint) {
		return false, job.Refuse(job.ErrInvalid, "Idempotency-Key",
			"was used for another request within the last 24 hours; use a new key for a new job")
	}
	_, err = l.Index(ctx, c.JobID)
	if err == nil || !errors.Is(err, job.ErrNotFound) {
		return false, err
	}
	gone, err := l.store.Exists(ctx, goneKey(keyHash, c.JobID))
	if err != nil {
		return false, err
	}
	if gone {
		return false, job.Refuse(job.ErrGone, "Idempotency-Key",
			"belongs to a job that has been removed; use a new key to run it again")
	}
	if l.now().Sub(c.CreatedAt) < claimGrace {
		return false, job.Refuse(job.ErrUnavailable, "Idempotency-Key",
			"belongs to a request that is still being accepted; try again in a few seconds")
	}
	return l.fence(ctx, c.JobID)
}

// fence stops the owner of a claim, who is dead or so slow that it must be: with the index of its
// job taken, that cannot be accepted any more. It returns false when the job was accepted after
// all.
func (l *Ledger) fence(ctx context.Context, id job.ID) (bool, error) {
	// The sweeper finds the void index by this entry. An owner that clears up after itself may remove
	// the entry at any time, so it is made again once the index is there.
	if err := l.store.Mark(ctx, uploads+string(id)); err != nil {
		return false, err
	}
	err := l.create(ctx, indexKey(id), job.Index{JobID: id, Void: true})
	if err == nil {
		return true, l.store.Mark(ctx, uploads+string(id))
	}
	if !errors.Is(err, job.ErrExists) {
		return false, err
	}
	_, err = l.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return true, nil // void already
	}
	return false, err
}

// ReleaseKey gives up the claim of a request that was not accepted after all. The claim stays, with
// a record that it is free: if it were deleted, a request that counts on from it and one that finds
// nothing could both get the key.
func (l *Ledger) ReleaseKey(ctx context.Context, keyHash string, id job.ID) error {
	n, c, err := l.lastClaim(ctx, keyHash)
	if err != nil || c == nil || c.JobID != id {
		return err
	}
	return l.store.Mark(ctx, releasedKey(keyHash, n))
}

// keepKey makes a job's idempotency key outlive the job, or a retry would run it again. A key that
// has had its time leaves nothing: nobody would sweep it.
func (l *Ledger) keepKey(ctx context.Context, id job.ID, keyHash string) error {
	if keyHash == "" {
		return nil
	}
	_, c, err := l.lastClaim(ctx, keyHash)
	if errors.Is(err, job.ErrNotFound) || err == nil && (c == nil || l.now().Sub(c.CreatedAt) >= KeyLifetime) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.store.Mark(ctx, goneKey(keyHash, id))
}

// SweepKeys forgets the idempotency keys that are older than KeyLifetime, and returns how many.
func (l *Ledger) SweepKeys(ctx context.Context) (int, error) {
	limit := fmt.Sprintf("%08x", l.now().Unix()/3600)
	return l.sweep(ctx, keysDue, func(key string) (bool, bool, error) {
		hour, keyHash, _ := strings.Cut(strings.TrimPrefix(key, keysDue), "/")
		if hour >= limit {
			return false, false, nil
		}
		err := l.sweepKey(ctx, key, keyHash)
		return err == nil, true, err
	})
}

// sweepKey forgets one key unless it was claimed again since the entry was made.
func (l *Ledger) sweepKey(ctx context.Context, due, keyHash string) error {
	_, c, err := l.lastClaim(ctx, keyHash)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return err
	}
	if c != nil && l.now().Sub(c.CreatedAt) >= KeyLifetime {
		if err := l.store.RemoveAll(ctx, keys+keyHash+"/"); err != nil {
			return err
		}
	}
	return l.store.Remove(ctx, due)
}
