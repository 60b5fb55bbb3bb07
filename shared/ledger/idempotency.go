package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// KeyLifetime is how long an idempotency key is remembered.
const KeyLifetime = 24 * time.Hour

// claimGrace is how long the owner of a fresh claim has to write its index before it is taken for dead. Between
// the two lie a few writes.
const claimGrace = 10 * time.Second

type claim struct {
	JobID       job.ID    `json:"jobID"`
	Fingerprint string    `json:"fingerprint"`
	CreatedAt   time.Time `json:"createdAt"`
}

// HashKey returns what is stored of a user's idempotency key, which may have any characters.
func HashKey(key string) string { return hash(key) }

// A key's claims are numbered. A dead or expired one is never deleted by those who compete for the key, but
// followed by the next number: were it deleted, one of them could delete the other's new claim.
func claimPrefix(keyHash string) string { return keys + keyHash + "/claim-" }

func claimKey(keyHash string, n int) string {
	return fmt.Sprintf("%s%06d.json", claimPrefix(keyHash), n)
}

func goneKey(keyHash string, id job.ID) string { return keys + keyHash + "/gone-" + string(id) }

func dueKey(at time.Time, keyHash string) string {
	return keysDue + fmt.Sprintf("%08x", at.Unix()/3600) + "/" + keyHash
}

// ClaimKey claims an idempotency key for a request with the given fingerprint that is about to become job id.
// It returns id when the claim is new. When the key belongs to an earlier request it returns that one's job;
// the error is of kind job.ErrInvalid when that request had another fingerprint, job.ErrGone when its job has been
// removed and job.ErrUnavailable while it is still being accepted.
func (l *Ledger) ClaimKey(ctx context.Context, keyHash, fingerprint string, id job.ID) (job.ID, error) {
	now := l.now().UTC()
	if err := l.store.Mark(ctx, dueKey(now.Add(KeyLifetime), keyHash)); err != nil {
		return "", err
	}
	n, last, err := l.lastClaim(ctx, keyHash)
	for ; err == nil; n++ {
		if last == nil {
			last = &claim{}
			err = l.create(ctx, claimKey(keyHash, n), claim{JobID: id, Fingerprint: fingerprint, CreatedAt: now})
			if err == nil {
				return id, nil
			}
			if !errors.Is(err, job.ErrExists) {
				return "", err
			}
			if err = l.read(ctx, claimKey(keyHash, n), last); err != nil {
				break
			}
		}
		if now.Sub(last.CreatedAt) < KeyLifetime {
			dead, err := l.earlier(ctx, keyHash, fingerprint, last)
			if !dead {
				return last.JobID, err
			}
		}
		last = nil
	}
	return "", fmt.Errorf("claim idempotency key: %w", err)
}

// lastClaim returns the newest claim of a key and its number, or no claim and the number of the first.
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

// earlier says what became of the request that holds a key. dead is true when it came to nothing, so that the
// key is free for another.
func (l *Ledger) earlier(ctx context.Context, keyHash, fingerprint string, c *claim) (dead bool, err error) {
	if c.Fingerprint != fingerprint {
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
	// The owner is dead, or so slow that it must be stopped: with the index of its job taken, it cannot be
	// accepted any more.
	err = l.create(ctx, indexKey(c.JobID), job.Index{JobID: c.JobID, Void: true})
	if errors.Is(err, job.ErrExists) {
		_, err = l.Index(ctx, c.JobID)
		if errors.Is(err, job.ErrNotFound) {
			return true, nil // void already
		}
		return false, err
	}
	return true, err
}

// ReleaseKey gives up the claim of a request that was not accepted after all.
func (l *Ledger) ReleaseKey(ctx context.Context, keyHash string, id job.ID) error {
	n, c, err := l.lastClaim(ctx, keyHash)
	if err != nil || c == nil || c.JobID != id {
		return err
	}
	return l.store.Remove(ctx, claimKey(keyHash, n))
}

// SweepKeys forgets the idempotency keys that are older than KeyLifetime, and returns how many.
func (l *Ledger) SweepKeys(ctx context.Context) (int, error) {
	limit := fmt.Sprintf("%08x", l.now().Unix()/3600)
	swept := 0
	for {
		list, err := l.store.List(ctx, keysDue, "", sweepBatch)
		if err != nil {
			return swept, err
		}
		for _, key := range list {
			hour, keyHash, _ := strings.Cut(strings.TrimPrefix(key, keysDue), "/")
			if hour >= limit {
				return swept, nil
			}
			if err := l.sweepKey(ctx, key, keyHash); err != nil {
				return swept, err
			}
			swept++
		}
		if len(list) < sweepBatch {
			return swept, nil
		}
	}
}

// sweepKey forgets one key unless it was claimed anew since the mark was made.
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
