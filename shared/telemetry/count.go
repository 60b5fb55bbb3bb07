package telemetry

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/ledger"
)

// told is an entry and what it tells of.
type told struct {
	entry ledger.ReportEntry
	life  *ledger.Life
}

// count counts what the entries tell of, batch by batch: it adds them to the totals, sends their spans
// and removes them, in this order. It returns the totals that are written.
func (p *Pusher) count(ctx context.Context, t *totals, s *sender) (*totals, error) {
	if err := p.complete(ctx, t, s); err != nil {
		return t, err
	}
	begun := time.Now()
	for after := ledger.ReportEntry(""); time.Since(begun) < countTimeout; {
		entries, err := p.records.Reports(ctx, after, batch)
		if err != nil {
			return t, err
		}
		list, _ := p.read(ctx, entries)
		if err := ctx.Err(); err != nil {
			return t, err
		}
		if t, err = p.add(ctx, t, list); err != nil {
			return t, err
		}
		if err := p.finish(ctx, list, s); err != nil || len(entries) < batch {
			return t, err
		}
		after = entries[len(entries)-1]
	}
	return t, nil
}

// complete does what a crash has kept the push before from: the entries that it has counted are still
// there. Those that cannot be read stay in the batch, so that they are not counted again.
func (p *Pusher) complete(ctx context.Context, t *totals, s *sender) error {
	list, left := p.read(ctx, t.Batch)
	t.left = left
	return p.finish(ctx, list, s)
}

// read returns what the entries tell of, and the entries that could not be read, which must not keep
// the others from being counted. One that has nothing to tell yet is left for the next push.
func (p *Pusher) read(ctx context.Context, entries []ledger.ReportEntry) (found []told, failed []ledger.ReportEntry) {
	list, errs := make([]told, len(entries)), make([]error, len(entries))
	var all errgroup.Group
	all.SetLimit(readers)
	for i, e := range entries {
		all.Go(func() error {
			var life *ledger.Life
			if life, errs[i] = p.records.Life(ctx, e); errs[i] != nil && ctx.Err() == nil {
				p.log.WarnContext(ctx, "job not counted for the metrics; the next push tries again", "entry", e, "error", errs[i])
			}
			list[i] = told{e, life}
			return nil
		})
	}
	_ = all.Wait() // no function returns an error
	for i, err := range errs {
		if err != nil {
			failed = append(failed, entries[i])
		}
	}
	return slices.DeleteFunc(list, func(one told) bool { return one.life == nil }), failed
}

// add writes the totals with these entries, but for those that were counted before.
func (p *Pusher) add(ctx context.Context, t *totals, list []told) (*totals, error) {
	n := t.next()
	for _, one := range list {
		if !one.life.Counted && !slices.Contains(t.left, one.entry) {
			n.add(p.runtimes, one.life)
			n.Batch = append(n.Batch, one.entry)
		}
	}
	if len(n.Batch) == len(t.left) {
		return t, nil
	}
	if err := p.book.write(ctx, n); err != nil {
		return t, err
	}
	return n, nil
}

// finish sends the spans of what was counted, and removes the entries. The spans that the collector
// does not take are kept.
func (p *Pusher) finish(ctx context.Context, list []told, s *sender) error {
	var lives []*ledger.Life
	for _, one := range list {
		if wanted(one.life) {
			lives = append(lives, one.life)
		}
	}
	if err := s.send(ctx, lives); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readers)
	for _, one := range list {
		all.Go(func() error { return p.records.Counted(ctx, one.entry) })
	}
	return all.Wait()
}
