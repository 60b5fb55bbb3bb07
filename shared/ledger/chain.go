package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// chainLifetime is how long after the last job of a chain was started, or removed, the chain is
// remembered. It is longer than a job is kept by default, so that the event of its removal still
// counts.
const chainLifetime = 48 * time.Hour

// ErrChainFull is the error for one job too many in a chain.
var ErrChainFull = errors.New("chain is full")

// Lineage is where a job stands in a chain of jobs, each of which started others by its events.
type Lineage struct {
	Root job.ID `json:"root"` // the first job of the chain
	Hops int    `json:"hops"` // how many jobs come before this one
}

// link is one job in a chain.
type link struct {
	JobID job.ID `json:"jobID"`
	Lineage
}

func chainPrefix(root job.ID) string       { return chains + string(root) + "/" }
func linkKey(root job.ID, n int) string    { return fmt.Sprintf("%s%06d.json", chainPrefix(root), n) }
func lineageKey(id job.ID) string          { return chained + string(id) }
func chainDueHour(at time.Time) string     { return fmt.Sprintf("%s%08x/", chainDue, at.Unix()/3600) }
func chainDueKey(hour, root string) string { return hour + root }

// Lineage returns where a job stands that may have been removed. A job of which nothing is known
// has no chain before it.
func (l *Ledger) Lineage(ctx context.Context, id job.ID) (Lineage, error) {
	index, err := l.Index(ctx, id)
	if err == nil {
		return LineageOf(index), nil
	}
	if !errors.Is(err, job.ErrNotFound) {
		return Lineage{}, err
	}
	var known Lineage
	err = l.read(ctx, lineageKey(id), &known)
	if errors.Is(err, job.ErrNotFound) {
		return Lineage{Root: id}, nil
	}
	return known, err
}

// LineageOf is Lineage for who has the job's index.
func LineageOf(index *job.Index) Lineage {
	if index.Root == "" {
		return Lineage{Root: index.JobID, Hops: index.Hops}
	}
	return Lineage{Root: index.Root, Hops: index.Hops}
}

// ChainLength returns how many jobs have been started in the chain of a job, up to limit.
func (l *Ledger) ChainLength(ctx context.Context, root job.ID, limit int) (int, error) {
	list, err := l.store.List(ctx, chainPrefix(root), "", limit)
	return len(list), err
}

// JoinChain counts a job that is about to be accepted as one of its chain, of which there are at
// most limit at any time, however many are started at once: each has a number of its own. Beyond
// that the error is ErrChainFull. The link it returns is for LeaveChain.
func (l *Ledger) JoinChain(ctx context.Context, id job.ID, in Lineage, limit int) (string, error) {
	if err := l.keepChain(ctx, in.Root); err != nil {
		return "", err
	}
	list, err := l.store.List(ctx, chainPrefix(in.Root), "", limit)
	if err != nil {
		return "", err
	}
	taken := make(map[string]bool, len(list))
	for _, key := range list {
		taken[key] = true
	}
	for n := range limit {
		key := linkKey(in.Root, n)
		if taken[key] {
			continue
		}
		err := l.create(ctx, key, link{JobID: id, Lineage: in})
		if errors.Is(err, job.ErrExists) { // another was faster
			continue
		}
		if err == nil {
			err = l.create(ctx, lineageKey(id), in)
		}
		if err != nil {
			return "", errors.Join(err, l.LeaveChain(context.WithoutCancel(ctx), id, key))
		}
		return key, nil
	}
	return "", fmt.Errorf("chain of job %s: %w", in.Root, ErrChainFull)
}

// LeaveChain undoes JoinChain for a job that was not accepted.
func (l *Ledger) LeaveChain(ctx context.Context, id job.ID, link string) error {
	return errors.Join(l.store.Remove(ctx, lineageKey(id)), l.store.Remove(ctx, link))
}

// keepChain has a chain remembered from now on.
func (l *Ledger) keepChain(ctx context.Context, root job.ID) error {
	if root == "" {
		return nil
	}
	return l.store.Mark(ctx, chainDueKey(chainDueHour(l.now().Add(chainLifetime)), string(root)))
}

// SweepChains forgets the chains in which nothing has happened for chainLifetime, and returns how
// many.
func (l *Ledger) SweepChains(ctx context.Context) (int, error) {
	limit := chainDueHour(l.now())
	return l.sweep(ctx, chainDue, func(key string) (bool, bool, error) {
		if key >= limit {
			return false, false, nil
		}
		done, err := l.sweepChain(ctx, key)
		return done, true, err
	})
}

// sweepChain forgets one chain, unless a later entry says when it may be forgotten. A job that
// joins at the same time is forgotten as well: after two days without one that is not worth a lock.
func (l *Ledger) sweepChain(ctx context.Context, due string) (bool, error) {
	root, err := job.ParseID(due[strings.LastIndexByte(due, '/')+1:])
	if err != nil {
		return false, l.store.Remove(ctx, due)
	}
	for at, last := l.now(), l.now().Add(chainLifetime); !at.After(last.Add(time.Hour)); at = at.Add(time.Hour) {
		later, err := l.store.Exists(ctx, chainDueKey(chainDueHour(at), string(root)))
		if err != nil {
			return false, err
		}
		if later {
			return false, l.store.Remove(ctx, due)
		}
	}
	_, err = l.sweep(ctx, chainPrefix(root), func(key string) (bool, bool, error) {
		var gone link
		err := l.read(ctx, key, &gone)
		if errors.Is(err, job.ErrNotFound) {
			return false, true, nil
		}
		if err != nil {
			return false, true, err
		}
		return true, true, l.LeaveChain(ctx, gone.JobID, key)
	})
	if err != nil {
		return false, err
	}
	return true, l.store.Remove(ctx, due)
}
