package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go-job-orchestrator/shared/job"
)

// Announcer tells others of a step in a job's life. It may go on telling them in the background,
// and it has Announced called once they know.
type Announcer interface {
	Announce(ctx context.Context, n job.Notice)
}

// Announcing returns a Ledger of the same records that has every step announced once it is
// recorded: at the least once, whatever happens to this process, since what is still to be
// announced is recorded before. Unannounced finds it again.
func (l *Ledger) Announcing(a Announcer) *Ledger {
	return &Ledger{store: l.store, now: l.now, announcer: a}
}

func (l *Ledger) announce(ctx context.Context, n job.Notice) {
	if l.announcer != nil {
		l.announcer.Announce(context.WithoutCancel(ctx), n)
	}
}

// announceStart is for those who have not read the job's index. Should that fail, the reaper sees
// that nobody was told.
func (l *Ledger) announceStart(ctx context.Context, id job.ID, a job.Attempt) {
	if l.announcer == nil {
		return
	}
	if index, err := l.Index(ctx, id); err == nil {
		l.announce(ctx, startNotice(index, a))
	}
}

// SubmitNotice tells that the job was accepted.
func SubmitNotice(index *job.Index) job.Notice {
	return newNotice(index, job.StepSubmitted, index.CreatedAt, begun(index, nil, false))
}

// startNotice is the same whenever it is made, also when the attempt has ended by then: what an
// event says must not change when it is sent again.
func startNotice(index *job.Index, first job.Attempt) job.Notice {
	s := begun(index, []job.Attempt{{Number: first.Number, StartedAt: first.StartedAt, Limits: first.Limits}}, false)
	return newNotice(index, job.StepStarted, first.StartedAt, s.At(job.Running))
}

func endNotice(index *job.Index, t *job.Terminal) job.Notice {
	return newNotice(index, job.EndOf(t.Phase), t.FinishedAt, ended(index, t))
}

func newNotice(index *job.Index, step job.Step, at time.Time, s *job.Status) job.Notice {
	return job.Notice{Step: step, At: at, Status: s, Trace: index.Trace, Hops: index.Hops}
}

// owe notes, before a job's end is recorded, that the end is to be announced.
func (l *Ledger) owe(ctx context.Context, id job.ID) error {
	if l.announcer == nil {
		return nil
	}
	over, err := l.Over(ctx, id)
	if err != nil || over { // another has noted it, and perhaps announced it
		return err
	}
	return l.store.Mark(ctx, owed+string(id))
}

func announcedKey(id job.ID, step job.Step) string {
	return runPrefix(id) + "announced-" + string(step)
}

// farewellKey is one key a notice, in the order in which they are to be sent.
func farewellKey(id job.ID, step job.Step) string {
	order := 3
	switch step {
	case job.StepSubmitted:
		order = 1
	case job.StepStarted:
		order = 2
	case job.StepReaped:
		order = 4
	}
	return fmt.Sprintf("%s%s-%d-%s", farewell, id, order, step)
}

// Announced records that others know of a step.
func (l *Ledger) Announced(ctx context.Context, id job.ID, step job.Step) error {
	switch {
	case step == job.StepReaped:
		return l.store.Remove(ctx, farewellKey(id, step))
	case step.Ends():
		return errors.Join(l.store.Remove(ctx, owed+string(id)), l.store.Remove(ctx, farewellKey(id, step)))
	}
	if err := l.store.Mark(ctx, announcedKey(id, step)); err != nil {
		return err
	}
	exists, err := l.store.Exists(ctx, indexKey(id))
	if err != nil || exists {
		return err
	}
	// Removed meanwhile: nobody would remove the mark.
	return errors.Join(l.store.Remove(ctx, announcedKey(id, step)), l.store.Remove(ctx, farewellKey(id, step)))
}

// Unannounced returns what is recorded of a job that is not over, since longer than age, and is to
// be announced now. Whoever asks is taken to announce it.
func (l *Ledger) Unannounced(ctx context.Context, id job.ID, age time.Duration) ([]job.Notice, error) {
	if l.announcer == nil {
		return nil, nil
	}
	index, err := l.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) { // removed
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	attempts, err := l.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	missing, err := l.missing(ctx, index, attempts, nil)
	if err != nil {
		return nil, err
	}
	var list []job.Notice
	for _, n := range missing {
		if l.now().Sub(n.At) < age {
			continue
		}
		due, err := l.isDue(ctx, n)
		if errors.Is(err, errNotTaken) {
			return nil, errors.Join(err, l.Announced(ctx, id, n.Step))
		}
		if err != nil {
			return nil, err
		}
		if due {
			list = append(list, n)
		}
	}
	return list, nil
}

// missing returns the steps that are recorded and not announced. t is nil while the job is not
// over.
func (l *Ledger) missing(
	ctx context.Context, index *job.Index, attempts []job.Attempt, t *job.Terminal,
) ([]job.Notice, error) {
	steps := []job.Notice{SubmitNotice(index)}
	if len(attempts) > 0 {
		steps = append(steps, startNotice(index, attempts[0]))
	}
	if t != nil {
		steps = append(steps, endNotice(index, t))
	}
	var list []job.Notice
	for _, n := range steps {
		known, err := l.known(ctx, index.JobID, n.Step)
		if err != nil {
			return nil, err
		}
		if !known {
			list = append(list, n)
		}
	}
	return list, nil
}

// known reports whether others know of a step of a job that is still there.
func (l *Ledger) known(ctx context.Context, id job.ID, step job.Step) (bool, error) {
	if !step.Ends() {
		return l.store.Exists(ctx, announcedKey(id, step))
	}
	owes, err := l.store.Exists(ctx, owed+string(id))
	return !owes, err
}

// writeFarewell keeps what is to be announced of a job that has been removed, and returns what can
// be announced at once: that it was, if all before is known.
func (l *Ledger) writeFarewell(ctx context.Context, r *removal) (*job.Notice, error) {
	if l.announcer == nil || r.Terminal == nil {
		return nil, nil //nolint:nilnil // nothing to announce
	}
	last := newNotice(r.Index, job.StepReaped, l.now().UTC(), ended(r.Index, r.Terminal))
	for _, n := range append(slices.Clone(r.Missing), last) {
		err := l.create(ctx, farewellKey(r.Index.JobID, n.Step), n)
		if errors.Is(err, job.ErrExists) && n.Step == job.StepReaped {
			return nil, nil //nolint:nilnil // a removal that was cut off has kept another time, which the reaper announces
		}
		if err != nil && !errors.Is(err, job.ErrExists) {
			return nil, err
		}
	}
	if len(r.Missing) > 0 {
		return nil, nil //nolint:nilnil // the reaper sends all in order
	}
	return &last, nil
}

// errNotTold ends a sweep: who does not take one notice does not take the next either.
var errNotTold = errors.New("not told")

// SweepOwed calls tell for what is to be announced, since longer than age, of jobs that are over or
// no more, and returns how much of it is known now. It does so for several jobs at a time, atOnce
// at most: a sink may take a second for each event. What was told in vain waits longer each time,
// and does not keep what comes after it waiting: whoever was to hear it may have heard it all the
// same.
func (l *Ledger) SweepOwed(
	ctx context.Context, age time.Duration, atOnce int, tell func(job.Notice) error,
) (int, error) {
	var told atomic.Int64
	_, endedErr := l.sweepJobs(ctx, owed, atOnce, func(key string) (bool, bool, error) {
		n, err := l.tellEnd(ctx, key, age, tell)
		told.Add(int64(n))
		return false, !errors.Is(err, errNotTold), err
	})
	gone, goneErr := l.sweepJobs(ctx, farewell, atOnce, func(key string) (bool, bool, error) {
		done, err := l.tellFarewell(ctx, key, age, tell)
		return done, !errors.Is(err, errNotTold), err
	})
	return int(told.Load()) + gone, errors.Join(endedErr, goneErr, l.sweepTries(ctx))
}

func (l *Ledger) tellEnd(ctx context.Context, key string, age time.Duration, tell func(job.Notice) error) (int, error) {
	id, ok := unshard(key)
	if !ok {
		return 0, nil
	}
	index, err := l.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) { // removed; what was left to be told is a farewell
		return 0, l.store.Remove(ctx, key)
	}
	if err != nil {
		return 0, err
	}
	t, err := l.Terminal(ctx, id)
	if errors.Is(err, job.ErrNotFound) { // noted before the end was recorded, which is still to come
		return 0, nil
	}
	if err != nil || l.now().Sub(t.FinishedAt) < age {
		return 0, err
	}
	missing, err := l.missing(ctx, index, t.Attempts, t)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, n := range missing {
		told, err := l.tell(ctx, n, tell)
		if errors.Is(err, errNotTaken) {
			return count, errors.Join(err, l.Announced(ctx, id, n.Step))
		}
		if err != nil {
			return count, err
		}
		if !told {
			continue
		}
		known, err := l.known(ctx, id, n.Step)
		if err != nil || !known {
			return count, errors.Join(err, errNotTold)
		}
		if err := l.store.Remove(ctx, triesKey(n)); err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

func (l *Ledger) tellFarewell(
	ctx context.Context, key string, age time.Duration, tell func(job.Notice) error,
) (bool, error) {
	var n job.Notice
	err := l.read(ctx, key, &n)
	if errors.Is(err, job.ErrNotFound) {
		return false, nil // another was faster
	}
	if err != nil {
		return false, err
	}
	if n.Step == job.StepReaped && l.now().Sub(n.At) < age {
		return false, nil
	}
	told, err := l.tell(ctx, n, tell)
	if errors.Is(err, errNotTaken) {
		return true, errors.Join(err, l.store.Remove(ctx, key))
	}
	if err != nil || !told {
		return false, err
	}
	waits, err := l.store.Exists(ctx, key)
	if err != nil || waits {
		return false, errors.Join(err, errNotTold)
	}
	return true, l.store.Remove(ctx, triesKey(n))
}

// tell reports whether a notice was told, which it is not before its time.
func (l *Ledger) tell(ctx context.Context, n job.Notice, tell func(job.Notice) error) (bool, error) {
	if due, err := l.isDue(ctx, n); err != nil || !due {
		return false, err
	}
	if err := tell(n); err != nil {
		return false, fmt.Errorf("%w: %s of job %s: %w", errNotTold, n.Step, n.Status.JobID, err)
	}
	return true, nil
}
