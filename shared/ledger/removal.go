package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go-job-orchestrator/shared/job"
)

// RequestCancel records that the user wants the job stopped. Whoever is about to start an attempt reads it
// after claiming the attempt; whoever cancels reads the attempts after recording it: one sees the other.
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

// RequestRemoval records that the user wants everything of the job removed, and that it be stopped first. From then
// on it is no longer there for users.
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
}

// Remove deletes everything of a job that is over; one that is not gives an error of kind job.ErrConflict. It
// may be called by several at once, and again after a crash.
func (l *Ledger) Remove(ctx context.Context, id job.ID) error {
	r, err := l.beginRemoval(ctx, id)
	if err != nil {
		return err
	}
	return l.remove(ctx, id, r)
}

// beginRemoval keeps a copy of what names the job's marks, so that a removal that is cut off can be completed.
func (l *Ledger) beginRemoval(ctx context.Context, id job.ID) (*removal, error) {
	index, err := l.Index(ctx, id)
	if err != nil {
		return nil, err
	}
	t, err := l.Terminal(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil, fmt.Errorf("remove job %s: %w: it is not over", id, job.ErrConflict)
	}
	if err != nil {
		return nil, err
	}
	r := &removal{Index: index, Terminal: t}
	if err := l.create(ctx, removingKey(id), r); err != nil && !errors.Is(err, job.ErrExists) {
		return nil, err
	}
	return r, nil
}

func (l *Ledger) remove(ctx context.Context, id job.ID, r *removal) error {
	if r.Index.IdempotencyKey != "" { // the key outlives the job, or a retry would run it again
		if err := l.store.Mark(ctx, goneKey(r.Index.IdempotencyKey, id)); err != nil {
			return err
		}
	}
	// The index goes first: without it the job does not exist, whatever else is still there.
	if err := l.store.Remove(ctx, indexKey(id)); err != nil {
		return err
	}
	marks := append(listKeys(r.Index), active+string(id), running+string(id), uploads+string(id),
		expiryKey(r.Terminal.ExpiresAt, id))
	for _, p := range endedPhases() {
		marks = append(marks, phasePrefix(p)+shard(id))
	}
	for _, key := range marks {
		if err := l.store.Remove(ctx, key); err != nil {
			return err
		}
	}
	for _, folder := range []string{jobPrefix(id), LogPrefix(id), runPrefix(id)} {
		if err := l.store.RemoveAll(ctx, folder); err != nil {
			return err
		}
	}
	if err := l.store.Remove(ctx, removeKey(id)); err != nil {
		return err
	}
	return l.store.Remove(ctx, removingKey(id))
}

// sweepBatch is how many entries of an index one step of sweeping takes into memory.
const sweepBatch = 500

// RemoveExpired removes the jobs whose time has come, those that users want removed and that are over by now, and
// those whose removal was cut off, and returns how many. Its cost grows with what is due, not with what is stored.
func (l *Ledger) RemoveExpired(ctx context.Context) (int, error) {
	removed, err := l.resumeRemovals(ctx)
	if err != nil {
		return removed, err
	}
	n, err := l.removeAsked(ctx)
	removed += n
	if err != nil {
		return removed, err
	}
	now := l.now()
	for after := ""; ; {
		keys, err := l.store.List(ctx, expiry, after, sweepBatch)
		if err != nil {
			return removed, err
		}
		for _, key := range keys {
			after = key
			at, id, ok := parseExpiry(key)
			if !ok {
				continue
			}
			if at.After(now) {
				return removed, nil
			}
			err := l.Remove(ctx, id)
			if errors.Is(err, job.ErrNotFound) { // removed already; only this mark is left
				err = l.store.Remove(ctx, key)
			}
			if err != nil {
				return removed, err
			}
			removed++
		}
		if len(keys) < sweepBatch {
			return removed, nil
		}
	}
}

func (l *Ledger) removeAsked(ctx context.Context) (int, error) {
	keys, err := l.store.List(ctx, asked, "", sweepBatch)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, key := range keys {
		id, ok := unshard(key)
		if !ok {
			continue
		}
		err := l.Remove(ctx, id)
		switch {
		case errors.Is(err, job.ErrConflict):
			continue // still to be stopped
		case errors.Is(err, job.ErrNotFound): // removed already; only this mark is left
			err = l.store.Remove(ctx, key)
		}
		if err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

func (l *Ledger) resumeRemovals(ctx context.Context) (int, error) {
	keys, err := l.store.List(ctx, removing, "", sweepBatch)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, key := range keys {
		id, ok := unshard(key)
		if !ok {
			continue
		}
		var r removal
		err := l.read(ctx, key, &r)
		if errors.Is(err, job.ErrNotFound) {
			continue // another reaper was faster
		}
		if err == nil {
			err = l.remove(ctx, id, &r)
		}
		if err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// SweepUploads removes what requests left that were cut off longer than age ago, and returns how many.
func (l *Ledger) SweepUploads(ctx context.Context, age time.Duration) (int, error) {
	swept := 0
	for after := ""; ; {
		keys, err := l.store.List(ctx, uploads, after, sweepBatch)
		if err != nil {
			return swept, err
		}
		for _, key := range keys {
			after = key
			id, ok := unshard(key)
			if !ok || l.now().Sub(id.Created()) < age {
				continue
			}
			if err := l.sweepUpload(ctx, id); err != nil {
				return swept, err
			}
			swept++
		}
		if len(keys) < sweepBatch {
			return swept, nil
		}
	}
}

func (l *Ledger) sweepUpload(ctx context.Context, id job.ID) error {
	_, err := l.Index(ctx, id)
	if err == nil { // accepted; only the mark stayed
		return l.store.Remove(ctx, uploads+string(id))
	}
	if !errors.Is(err, job.ErrNotFound) {
		return err
	}
	for _, key := range []string{active + string(id), all + shard(id)} {
		if err := l.store.Remove(ctx, key); err != nil {
			return err
		}
	}
	return l.AbortUpload(ctx, id)
}

// Settle completes the records of a job that is over, and reports whether it is. A job that does not exist
// counts as over, and loses its active mark when it is older than age.
func (l *Ledger) Settle(ctx context.Context, id job.ID, age time.Duration) (bool, error) {
	t, err := l.Terminal(ctx, id)
	if err == nil {
		return true, l.settle(ctx, t)
	}
	if !errors.Is(err, job.ErrNotFound) {
		return false, err
	}
	_, err = l.Index(ctx, id)
	if !errors.Is(err, job.ErrNotFound) {
		return false, err
	}
	if l.now().Sub(id.Created()) < age { // may be on its way to acceptance
		return true, nil
	}
	return true, l.store.Remove(ctx, active+string(id))
}
