package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/job"
)

// A notice that is not taken is sent again after 1, 2, 4 … minutes, at most every hour, and given
// up after a week. A Broker that delivers to all consumers but a broken one answers like a Broker
// that delivers to nobody: without the pauses, the others would get the same event in every round.
const (
	firstWait = time.Minute
	maxWait   = time.Hour
	giveUp    = 7 * 24 * time.Hour
)

var (
	// errNotSent ends a sweep: a sink that does not take one notice does not take the next either.
	errNotSent = errors.New("not sent")
	errGivenUp = errors.New("the sink (K_SINK) did not take it in a week; given up")
)

// SweepOutbox calls send for every notice that has been in the outbox for longer than age and is
// due, and returns how many of them have been taken. It sends for several jobs at a time, atOnce at
// most, because a sink may take a second for each event; the notices of one job are sent in order.
// A notice that is not taken waits longer each time and does not hold up others. A Ledger that
// publishes nothing leaves the outbox alone.
func (l *Ledger) SweepOutbox(
	ctx context.Context, age time.Duration, atOnce int, send func(job.Notice) error,
) (int, error) {
	if l.publisher == nil {
		return 0, nil
	}
	formerErr := l.sweepFormer(ctx)
	sent, err := l.sweepJobs(ctx, outbox, atOnce, func(key string) (bool, bool, error) {
		done, err := l.sendEntry(ctx, key, age, send)
		return done, !errors.Is(err, errNotSent), err
	})
	return sent, errors.Join(formerErr, err)
}

// sendEntry sends the notice of one entry if it is due, and reports whether the sink has taken it.
func (l *Ledger) sendEntry(
	ctx context.Context, key string, age time.Duration, send func(job.Notice) error,
) (bool, error) {
	e, err := l.due(ctx, key, age)
	if e == nil || err != nil {
		return false, err
	}
	if err := send(*e.Notice); err != nil {
		return false, fmt.Errorf("%w: %s of job %s: %w", errNotSent, e.Notice.Step, e.Notice.Status.JobID, err)
	}
	waits, err := l.store.Exists(ctx, key)
	if err != nil || waits {
		return false, errors.Join(err, errNotSent)
	}
	return true, nil
}

// due returns an entry whose notice is to be sent now, and nil for any other. It records the try
// before the notice is sent, so that no round sends it again while this one waits for the sink, or
// right after a crash.
func (l *Ledger) due(ctx context.Context, key string, age time.Duration) (*outboxEntry, error) {
	id, s, ok := parseOutboxKey(key)
	if !ok {
		return nil, nil //nolint:nilnil // not an entry
	}
	e, err := l.entry(ctx, key)
	if errors.Is(err, job.ErrNotFound) {
		return nil, nil //nolint:nilnil // taken meanwhile
	}
	now := l.now().UTC()
	if err != nil || now.Before(e.Next) {
		return nil, err
	}
	if e.Notice == nil {
		if e.Notice, err = l.recorded(ctx, id, s); e.Notice == nil || err != nil {
			return nil, err
		}
	}
	switch {
	case e.Tries == 0 && now.Sub(e.Notice.At) < age:
		return nil, nil //nolint:nilnil // its first sender may still be at it
	case e.Tries == 0:
		e.First = now
	case now.Sub(e.First) > giveUp:
		err := fmt.Errorf("%s of job %s: %w", e.Notice.Step, id, errGivenUp)
		return nil, errors.Join(err, l.store.Remove(ctx, key))
	}
	e.Tries++
	e.Next = now.Add(backoff.Exponential(firstWait, maxWait, e.Tries))
	return e, l.putEntry(ctx, key, e)
}

// recorded returns the notice of an empty entry, or nil when it cannot be sent now: the step is not
// recorded yet, or, and then the entry is removed, never will be.
func (l *Ledger) recorded(ctx context.Context, id job.ID, s stage) (*job.Notice, error) {
	index, err := l.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil, l.removeOrphan(ctx, id, s)
	}
	if err != nil {
		return nil, err
	}
	n, err := l.notice(ctx, index, s)
	if n != nil || err != nil || s != startedStage {
		return n, err
	}
	over, err := l.Over(ctx, id)
	if err != nil || !over {
		return nil, err
	}
	return nil, l.store.Remove(ctx, outboxKey(id, s)) // the job ended before it was started
}

// removeOrphan removes an empty entry of a job that is not there, unless the job is being accepted.
// It reads everything after the index was missing. By then a job that was accepted meanwhile has an
// index, and a job that was removed has given its entry content.
func (l *Ledger) removeOrphan(ctx context.Context, id job.ID, s stage) error {
	accepting, err := l.store.Exists(ctx, uploads+string(id))
	if err != nil || accepting {
		return err
	}
	_, err = l.Index(ctx, id)
	if !errors.Is(err, job.ErrNotFound) {
		return err
	}
	key := outboxKey(id, s)
	e, err := l.entry(ctx, key)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil || e.Notice != nil {
		return err
	}
	return l.store.Remove(ctx, key)
}
