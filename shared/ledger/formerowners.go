package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/job"
)

// Versions before callers recorded no owner, and made no entry in the list of one. Their jobs belong
// to job.LocalOwner. The reaper makes the missing entries, once. Until it has, a list of
// job.LocalOwner reads the list of all jobs and leaves out those of others. Jobs of other owners
// always have their entries.
//
// During an upgrade, processes of an earlier version may still accept jobs. So the reaper waits for
// a day after the last such job that it has seen, and then goes over all jobs. When it sees such a
// job later, for example because an earlier version was installed again for a while, it does all
// this once more.
//
// Callers come with version 0.1.0. This file can go in 0.2.0.

// formerOwnersKey is the record of how far the reaper is. Without it nothing was begun.
const formerOwnersKey = prefix + "owner-entries.json"

// formerOwners is that record. It is overwritten. Several reapers may write it at once: at worst one
// of them has a part of the work done again.
type formerOwners struct {
	// Since is when the last job of an earlier version was seen, or the first round of this one.
	Since time.Time `json:"since"`
	// After is the key of the last entry that was gone over: first of the list of all jobs, then of
	// those of owners.
	After string `json:"after,omitempty"`
	// Whole says that each job accepted before Since has its entry.
	Whole bool `json:"whole,omitempty"`
}

// Bounds of SweepOwners.
const (
	formerWait    = 24 * time.Hour // for the last process of an earlier version to end
	formerBatches = 4              // of sweepBatch jobs, in one round
	formerAtOnce  = 8              // jobs
)

// SweepOwners makes the entries that jobs of earlier versions lack in the list of their owner, and
// returns how many. It does a part of the work in each call, and continues where the last one ended.
// A request that began longer than age ago has ended.
func (l *Ledger) SweepOwners(ctx context.Context, age time.Duration) (int, error) {
	s, err := l.formerOwners(ctx)
	if err != nil || s != nil && s.Whole {
		return 0, err
	}
	some, err := l.store.List(ctx, all, "", 1)
	switch {
	case err != nil:
		return 0, err
	case len(some) == 0: // no entry can be missing
		return 0, l.store.Remove(ctx, formerOwnersKey)
	case s == nil:
		return 0, l.putFormerOwners(ctx, &formerOwners{Since: l.now().UTC()})
	case l.now().Sub(s.Since) < formerWait+age:
		return 0, nil
	}
	made := 0
	for range formerBatches {
		n, err := l.sweepOwnersBatch(ctx, s, age)
		made += n
		if err != nil || s.Whole {
			return made, err
		}
	}
	return made, nil
}

// sweepOwnersBatch does one batch of the work and records that it is done. After an error the batch
// is done again by the next call.
func (l *Ledger) sweepOwnersBatch(ctx context.Context, s *formerOwners, age time.Duration) (int, error) {
	folder, do := all, l.adoptOwner
	if strings.HasPrefix(s.After, owners) {
		folder, do = owners, func(ctx context.Context, key string) (bool, error) {
			return false, l.dropOwnerOrphan(ctx, key, age)
		}
	}
	keys, err := l.store.List(ctx, folder, s.After, sweepBatch)
	if err != nil {
		return 0, err
	}
	made, err := eachKey(ctx, keys, do)
	if err != nil {
		return made, err
	}
	switch {
	case len(keys) == sweepBatch:
		s.After = keys[len(keys)-1]
	case folder == all:
		s.After = owners
	default:
		s.After, s.Whole = "", true
	}
	return made, l.advanceFormerOwners(ctx, s)
}

// eachKey does some work for each key, several at a time, and returns how often it returned true.
func eachKey(ctx context.Context, keys []string, do func(context.Context, string) (bool, error)) (int, error) {
	var count atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(formerAtOnce)
	for _, key := range keys {
		group.Go(func() error {
			done, err := do(ctx, key)
			if done {
				count.Add(1)
			}
			return err
		})
	}
	err := group.Wait()
	return int(count.Load()), err
}

// adoptOwner makes the entry of a job in the list of job.LocalOwner if the job has no owner, and
// reports whether it has none.
func (l *Ledger) adoptOwner(ctx context.Context, key string) (bool, error) {
	id, ok := unshard(key)
	if !ok || key != all+shard(id) {
		return false, nil
	}
	former, err := l.isFormer(ctx, id)
	if err != nil || !former {
		return false, err
	}
	entry := ownerPrefix(job.LocalOwner) + shard(id)
	if err := l.store.Mark(ctx, entry); err != nil {
		return false, err
	}
	// Another process may have removed the job meanwhile. A removal takes the index before the entries.
	// So if it missed the entry made here, there is no index now. After a crash before this,
	// dropOwnerOrphan removes the entry.
	exists, err := l.store.Exists(ctx, indexKey(id))
	if err != nil || exists {
		return exists, err
	}
	return false, l.store.Remove(ctx, entry)
}

// isFormer reports whether there is a job that an earlier version accepted. An index that cannot be
// decoded is not one: it would have all lists fail that have it.
func (l *Ledger) isFormer(ctx context.Context, id job.ID) (bool, error) {
	data, err := l.store.Read(ctx, indexKey(id))
	if errors.Is(err, job.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var index job.Index
	if json.Unmarshal(data, &index) != nil {
		return false, nil //nolint:nilerr // see above
	}
	return index.Owner == "" && !index.Void, nil
}

// dropOwnerOrphan removes an entry in the list of an owner whose job does not exist. Processes of
// earlier versions leave the entries of jobs that they remove. An entry that is younger than age may
// be of a job that is being accepted.
func (l *Ledger) dropOwnerOrphan(ctx context.Context, key string, age time.Duration) error {
	id, ok := parseOwnerKey(key)
	if !ok || l.now().Sub(id.Created()) < age {
		return nil
	}
	exists, err := l.store.Exists(ctx, indexKey(id))
	if err != nil || exists {
		return err
	}
	return l.store.Remove(ctx, key)
}

// noticeFormer has the work begin again when a job is found that an earlier version accepted after
// the record says that it had seen the last one.
func (l *Ledger) noticeFormer(ctx context.Context, a *acceptance) error {
	if !a.former {
		return nil
	}
	s, err := l.formerOwners(ctx)
	if err != nil || s == nil || !a.JobID.Created().After(s.Since) {
		return err
	}
	since := l.now().UTC()
	if created := a.JobID.Created(); created.After(since) { // by a clock that is ahead
		since = created
	}
	return l.putFormerOwners(ctx, &formerOwners{Since: since})
}

// listsOwner reports whether the list of an owner has an entry for each of their jobs.
func (l *Ledger) listsOwner(ctx context.Context, owner string) (bool, error) {
	if owner != job.LocalOwner {
		return true, nil
	}
	s, err := l.formerOwners(ctx)
	return s != nil && s.Whole, err
}

// formerOwners returns the record, and nil when there is none.
func (l *Ledger) formerOwners(ctx context.Context) (*formerOwners, error) {
	var s formerOwners
	err := l.read(ctx, formerOwnersKey, &s)
	if errors.Is(err, job.ErrNotFound) {
		return nil, nil //nolint:nilnil // nothing was begun
	}
	return &s, err
}

// advanceFormerOwners records what was done, unless another reaper has begun again meanwhile or is
// done.
func (l *Ledger) advanceFormerOwners(ctx context.Context, s *formerOwners) error {
	now, err := l.formerOwners(ctx)
	if err != nil {
		return err
	}
	if now == nil || !now.Since.Equal(s.Since) || now.Whole {
		s.Whole = true // for this round; the next one reads the record
		return nil
	}
	return l.putFormerOwners(ctx, s)
}

func (l *Ledger) putFormerOwners(ctx context.Context, s *formerOwners) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode %s: %w", formerOwnersKey, err)
	}
	_, err = l.store.Put(ctx, formerOwnersKey, bytes.NewReader(data))
	return err
}
