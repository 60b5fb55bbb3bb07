package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/job"
)

// A notice that is not taken is told again after 1, 2, 4 … minutes, at most every hour, and given
// up after a week. A Broker that delivers to all but one consumer, which is broken, answers as one
// that delivers to nobody: the others would get the same event with every round.
const (
	firstWait = time.Minute
	maxWait   = time.Hour
	giveUp    = 7 * 24 * time.Hour
)

// tries is how often, and when for the last time, a notice was told in vain. It is no record, only
// a hint: whoever comes last overwrites it, and without it a notice is told too early.
type tries struct {
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

func (t tries) wait() time.Duration { return backoff.Exponential(firstWait, maxWait, t.Count) }

func triesKey(n job.Notice) string { return fmt.Sprintf("%s%s-%s", tried, n.Status.JobID, n.Step) }

// errNotTaken is why a notice is given up.
var errNotTaken = errors.New("was not taken in a week; given up")

// isDue reports whether a notice may be told, and takes it for told in vain until something else is
// known. The error errNotTaken means that it is not to be told any more.
func (l *Ledger) isDue(ctx context.Context, n job.Notice) (bool, error) {
	key := triesKey(n)
	var t tries
	if err := l.read(ctx, key, &t); err != nil && !errors.Is(err, job.ErrNotFound) {
		return false, err
	}
	now := l.now().UTC()
	switch {
	case t.Count == 0:
		t.First = now
	case now.Sub(t.First) > giveUp:
		return false, fmt.Errorf("%s of job %s %w", n.Step, n.Status.JobID, errNotTaken)
	case now.Sub(t.Last) < t.wait():
		return false, nil
	}
	t.Count, t.Last = t.Count+1, now
	data, err := json.Marshal(t)
	if err != nil {
		return false, fmt.Errorf("encode %s: %w", key, err)
	}
	_, err = l.store.Put(ctx, key, bytes.NewReader(data))
	return true, err
}

// sweepTries forgets what is not tried any more.
func (l *Ledger) sweepTries(ctx context.Context) error {
	_, err := l.sweep(ctx, tried, func(key string) (bool, bool, error) {
		var t tries
		err := l.read(ctx, key, &t)
		if errors.Is(err, job.ErrNotFound) {
			return false, true, nil
		}
		if err != nil || l.now().Sub(t.Last) < 2*maxWait {
			return false, true, err
		}
		return true, true, l.store.Remove(ctx, key)
	})
	return err
}
