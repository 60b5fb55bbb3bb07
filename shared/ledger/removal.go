package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go-job-orchestrator/shared/job"
)

// RequestCancel records that the user wants the job stopped. A process that starts an attempt
// reads the request after claiming the attempt; one that cancels reads the attempts after recording
// the request: one sees the other.
func (l *Ledger) RequestCancel(ctx context.Context, id job.ID) error {
	err := l.create(ctx, cancelKey(id), struct {
		RequestedAt time.Time `json:"requestedAt"`
	}{l.now().UTC()})
	if errors.Is(err, job.ErrExists) {
		return nil
	}
	return err
}

// CancelRequested reports whether the job is to be stopped, to be cancelled or removed.
func (l *Ledger) CancelRequested(ctx context.Context, id job.ID) (bool, error) {
	return l.store.Exists(ctx, cancelKey(id))
}

// RequestRemoval records that the user wants everything of the job removed, and that it be stopped
// first. From then on it is no longer there for users.
func (l *Ledger) RequestRemoval(ctx context.Context, id job.ID) error {
	if err := l.RequestCancel(ctx, id); err != nil {
		return err
	}
	return l.store.Mark(ctx, removeKey(id))
}

// RemovalRequested reports whether everything of the job is to be removed once it is over.
func (l *Ledger) RemovalRequested(ctx context.Context, id job.ID) (bool, error) {
	return l.store.Exists(ctx, removeKey(id))
}

// removal is what is left to be known of a job while it is being removed.
type removal struct {
	Index    *job.Index    `json:"index"`
	Terminal *job.Terminal `json:"terminal,omitempty"`
	// Pending says that the outbox has notices of the job.
	Pending bool `json:"pending,omitempty"`
	// Missing is what earlier versions had not announced of the job. See formeroutbox.go.
	Missing []job.Notice `json:"missing,omitempty"`
}

// Remove deletes everything of a job that is over; one that is not gives an error of kind
// job.ErrConflict. It may be called by several at once, and again after a crash.
func (l *Ledger) Remove(ctx context.Context, id job.ID) error {
	r, err := l.beginRemoval(ctx, id)
	if err != nil {
		return err
	}
	return l.remove(ctx, id, r)
}

// beginRemoval keeps a copy of the records that the names of the job's index entries follow from,
// so that a removal that is cut off can be completed.
func (l *Ledger) beginRemoval(ctx context.Context, id job.ID) (*removal, error) {
	a, err := l.acceptance(ctx, id)
	if err != nil {
		return nil, err
	}
	t, err := l.Terminal(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		if _, err := l.Index(ctx, id); err != nil { // removed by another between the two reads
			return nil, err
		}
		return nil, fmt.Errorf("remove job %s: %w: it is not over", id, job.ErrConflict)
	}
	if err != nil {
		return nil, err
	}
	r := &removal{Index: a.Index, Terminal: t}
	if l.publisher != nil {
		if err := l.adopt(ctx, a); err != nil {
			return nil, err
		}
		if r.Pending, err = l.keepNotices(ctx, a.Index); err != nil {
			return nil, err
		}
	}
	if err := l.keepReports(ctx, a.Index, t); err != nil {
		return nil, err
	}
	if err := l.create(ctx, removingKey(id), r); err != nil && !errors.Is(err, job.ErrExists) {
		return nil, err
	}
	return r, nil
}

func (l *Ledger) remove(ctx context.Context, id job.ID, r *removal) error {
	if err := l.keepKey(ctx, id, r.Index.IdempotencyKey); err != nil {
		return err
	}
	if err := l.keepChain(ctx, r.Index.Root); err != nil {
		return err
	}
	if err := l.adoptMissing(ctx, r); err != nil {
		return err
	}
	// The index goes first: without it the job does not exist, whatever else is still there.
	if err := l.store.Remove(ctx, indexKey(id)); err != nil {
		return err
	}
	if err := l.purge(ctx, id, append(listKeys(r.Index), expiryKey(r.Terminal.ExpiresAt, id))...); err != nil {
		return err
	}
	reaped, err := l.enqueueReaped(ctx, r)
	if err != nil {
		return err
	}
	if err := l.store.Remove(ctx, removingKey(id)); err != nil {
		return err
	}
	if reaped != nil {
		l.publish(ctx, *reaped)
	}
	return nil
}

// purge deletes what there is of a job without an index: the given entries, and everything whose
// name follows from the ID alone.
func (l *Ledger) purge(ctx context.Context, id job.ID, entries ...string) error {
	entries = append(entries, all+shard(id), active+string(id), running+string(id), uploads+string(id))
	for _, p := range endedPhases() {
		entries = append(entries, phasePrefix(p)+shard(id))
	}
	for _, key := range entries {
		if err := l.store.Remove(ctx, key); err != nil {
			return err
		}
	}
	for _, folder := range []string{JobPrefix(id), LogPrefix(id), runPrefix(id)} {
		if err := l.store.RemoveAll(ctx, folder); err != nil {
			return err
		}
	}
	return l.store.Remove(ctx, removeKey(id))
}

// sweepBatch is how many entries of an index one step of sweeping takes into memory.
const sweepBatch = 500

// sweep calls do for every key with the prefix, in order, until it returns false, and returns how
// often it returned true for done. A key that fails does not keep the others from their turn.
func (l *Ledger) sweep(
	ctx context.Context, prefix string, do func(key string) (done, more bool, err error),
) (int, error) {
	count := 0
	var failed []error
	for after := ""; ; {
		keys, err := l.store.List(ctx, prefix, after, sweepBatch)
		if err != nil {
			return count, errors.Join(append(failed, err)...)
		}
		for _, key := range keys {
			after = key
			done, more, err := do(key)
			if err != nil {
				failed = append(failed, fmt.Errorf("sweep %s: %w", key, err))
			}
			if done {
				count++
			}
			if !more || len(failed) >= maxFailures || ctx.Err() != nil {
				return count, errors.Join(failed...)
			}
		}
		if len(keys) < sweepBatch {
			return count, errors.Join(failed...)
		}
	}
}

// maxFailures ends a sweep in which everything fails.
const maxFailures = 50

// RemoveExpired removes the jobs whose time has come, those that users want removed and that are
// over by now, and those whose removal was cut off, and returns how many. Its cost grows with what
// is due, not with what is stored.
func (l *Ledger) RemoveExpired(ctx context.Context) (int, error) {
	resumed, resumeErr := l.sweep(ctx, removing, func(key string) (bool, bool, error) {
		done, err := l.resumeRemoval(ctx, key)
		return done, true, err
	})
	wanted, wantedErr := l.sweep(ctx, asked, func(key string) (bool, bool, error) {
		id, ok := flatID(asked, key)
		if !ok {
			return false, true, nil
		}
		done, err := l.removeDue(ctx, id, key)
		if errors.Is(err, job.ErrConflict) {
			return false, true, nil // still to be stopped
		}
		return done, true, err
	})
	now := l.now()
	expired, expiredErr := l.sweep(ctx, expiry, func(key string) (bool, bool, error) {
		at, id, ok := parseExpiry(key)
		if !ok || key != expiryKey(at, id) { // not an entry
			return false, true, nil
		}
		if at.After(now) {
			return false, false, nil
		}
		done, err := l.removeDue(ctx, id, key)
		return done, true, err
	})
	return resumed + wanted + expired, errors.Join(resumeErr, wantedErr, expiredErr)
}

// removeDue removes a job, and the entry that says that it is due.
func (l *Ledger) removeDue(ctx context.Context, id job.ID, entry string) (bool, error) {
	err := l.Remove(ctx, id)
	if errors.Is(err, job.ErrNotFound) { // removed already; this entry is left, and what came too late
		return false, l.purge(ctx, id, entry)
	}
	return err == nil, err
}

func (l *Ledger) resumeRemoval(ctx context.Context, key string) (bool, error) {
	id, ok := flatID(removing, key)
	if !ok {
		return false, nil
	}
	var r removal
	err := l.read(ctx, key, &r)
	if errors.Is(err, job.ErrNotFound) {
		return false, nil // another reaper was faster
	}
	if err == nil {
		err = l.remove(ctx, id, &r)
	}
	return err == nil, err
}

// SweepUploads removes what requests left that were cut off longer than age ago, and returns how
// many.
func (l *Ledger) SweepUploads(ctx context.Context, age time.Duration) (int, error) {
	return l.sweep(ctx, uploads, func(key string) (bool, bool, error) {
		id, ok := flatID(uploads, key)
		if !ok || l.now().Sub(id.Created()) < age {
			return false, true, nil
		}
		err := l.sweepUpload(ctx, id)
		return err == nil, true, err
	})
}

func (l *Ledger) sweepUpload(ctx context.Context, id job.ID) error {
	_, err := l.Index(ctx, id)
	if err == nil { // accepted; only the entry is left
		return l.store.Remove(ctx, uploads+string(id))
	}
	if !errors.Is(err, job.ErrNotFound) {
		return err
	}
	return l.AbortUpload(ctx, id)
}

// Settle completes the records of a job that is over, and reports whether it is. A job that does
// not exist counts as over, and loses its active entry when it is older than age.
func (l *Ledger) Settle(ctx context.Context, id job.ID, age time.Duration) (bool, error) {
	t, err := l.Terminal(ctx, id)
	if err == nil {
		// Finish removes them too, if it is not cut off. Here it is not known whether the job has any.
		if err := l.store.Remove(ctx, secretsKey(id)); err != nil {
			return true, err
		}
		return true, l.settle(ctx, t)
	}
	if !errors.Is(err, job.ErrNotFound) {
		return false, err
	}
	a, err := l.acceptance(ctx, id)
	if err == nil {
		return false, errors.Join(l.adopt(ctx, a), l.noticeFormer(ctx, a))
	}
	if !errors.Is(err, job.ErrNotFound) {
		return false, err
	}
	if l.now().Sub(id.Created()) < age { // may be on its way to acceptance
		return true, nil
	}
	return true, l.store.Remove(ctx, active+string(id))
}
