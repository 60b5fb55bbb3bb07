package ledger

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/job"
)

// Versions before the outbox kept what they had to announce in four kinds of blobs:
//
//	owed/<job>                 empty: the job is over, and its end may not have been announced
//	run/<job>/announced-<step> empty: the step was announced
//	farewell/<job>-<n>-<step>  the notice of a job that was removed
//	tried/<job>-<step>         how often a notice was sent in vain
//
// This file moves them into the outbox, entry first, so that a crash makes an event come twice at
// worst. The outbox comes with version 0.1.0. The file can go in 0.2.0, and with it
// acceptance.Outbox and removal.Missing.
const (
	formerOwed     = prefix + "owed/"
	formerFarewell = prefix + "farewell/"
	formerTried    = prefix + "tried/"
)

func formerAnnouncedKey(id job.ID, step job.Step) string {
	return runPrefix(id) + "announced-" + string(step)
}

// adopt makes the entries of a job that was accepted without an outbox, for the steps at its
// beginning that were not announced. It records them as announced, so it does this once.
func (l *Ledger) adopt(ctx context.Context, a *acceptance) error {
	if l.publisher == nil || a.Outbox {
		return nil
	}
	for _, step := range []job.Step{job.StepSubmitted, job.StepStarted} {
		if err := l.adoptStep(ctx, a.Index, step); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) adoptStep(ctx context.Context, index *job.Index, step job.Step) error {
	announced, err := l.store.Exists(ctx, formerAnnouncedKey(index.JobID, step))
	if err != nil || announced {
		return err
	}
	n, err := l.notice(ctx, index, stageOf(step))
	if err != nil || n == nil { // not started yet
		return err
	}
	if err := l.store.Mark(ctx, outboxKey(index.JobID, stageOf(step))); err != nil {
		return err
	}
	return l.store.Mark(ctx, formerAnnouncedKey(index.JobID, step))
}

// sweepFormer moves what is left of owed/, farewell/ and tried/.
func (l *Ledger) sweepFormer(ctx context.Context) error {
	_, owedErr := l.sweep(ctx, formerOwed, func(key string) (bool, bool, error) {
		return true, true, l.moveOwed(ctx, key)
	})
	_, farewellErr := l.sweep(ctx, formerFarewell, func(key string) (bool, bool, error) {
		return true, true, l.moveFarewell(ctx, key)
	})
	_, triedErr := l.sweep(ctx, formerTried, func(key string) (bool, bool, error) { // the outbox counts anew
		return true, true, l.store.Remove(ctx, key)
	})
	return errors.Join(owedErr, farewellErr, triedErr)
}

// moveOwed makes the entry of an end, which may be still to be recorded, and those of the steps
// before it.
func (l *Ledger) moveOwed(ctx context.Context, key string) error {
	id, ok := flatID(formerOwed, key)
	if !ok {
		return nil
	}
	a, err := l.acceptance(ctx, id)
	if errors.Is(err, job.ErrNotFound) { // removed; its notices are farewells
		return l.store.Remove(ctx, key)
	}
	if err != nil {
		return err
	}
	if err := l.adopt(ctx, a); err != nil {
		return err
	}
	if err := l.store.Mark(ctx, outboxKey(id, endedStage)); err != nil {
		return err
	}
	return l.store.Remove(ctx, key)
}

func (l *Ledger) moveFarewell(ctx context.Context, key string) error {
	var n job.Notice
	err := l.read(ctx, key, &n)
	if errors.Is(err, job.ErrNotFound) {
		return nil // another reaper was faster
	}
	if err != nil {
		return err
	}
	if err := l.keep(ctx, n); err != nil {
		return err
	}
	return l.store.Remove(ctx, key)
}

// adoptMissing keeps the notices that a removal which an earlier version began has to leave behind.
func (l *Ledger) adoptMissing(ctx context.Context, r *removal) error {
	if l.publisher == nil {
		return nil
	}
	for _, n := range r.Missing {
		if err := l.keep(ctx, n); err != nil {
			return err
		}
		r.Pending = true
	}
	return nil
}

func (l *Ledger) keep(ctx context.Context, n job.Notice) error {
	return l.putEntry(ctx, outboxKey(n.Status.JobID, stageOf(n.Step)), &outboxEntry{Notice: &n})
}
