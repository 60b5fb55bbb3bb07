package ledger

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/job"
)

// countPage is how many index entries are listed at a time.
const countPage = 1000

// Count counts the index entries. It reads no records, but takes as long as it takes to list all
// entries, so it is for the background. The numbers are of about one moment, because jobs go on.
func (l *Ledger) Count(ctx context.Context) (job.Census, error) {
	c := job.Census{Jobs: map[job.Phase]int{}}
	errs := []error{l.countActive(ctx, &c)}
	for _, p := range endedPhases() {
		n, err := l.countKeys(ctx, phasePrefix(p))
		c.Jobs[p] = n
		errs = append(errs, err)
	}
	var err error
	c.Owed, err = l.countKeys(ctx, outbox)
	return c, errors.Join(append(errs, err)...)
}

// countActive tells the jobs that run from those that wait. Both lists are in the order of IDs,
// newest first.
func (l *Ledger) countActive(ctx context.Context, c *job.Census) error {
	started := pages{list: l.flat(running)}
	waiting := pages{list: l.flat(active)}
	runs, err := started.next(ctx)
	for err == nil {
		var id job.ID
		if id, err = waiting.next(ctx); err != nil || id == "" {
			break
		}
		for err == nil && runs != "" && runs < id { // it has just ended
			runs, err = started.next(ctx)
		}
		if runs == id {
			c.Jobs[job.Running]++
			continue
		}
		c.Jobs[job.Pending]++
		c.Oldest = id.Created()
	}
	return err
}

// pages reads a list in pages.
type pages struct {
	list  source
	ids   []job.ID
	after job.ID
	over  bool
}

// next returns the next ID, and "" after the last.
func (p *pages) next(ctx context.Context) (job.ID, error) {
	if len(p.ids) == 0 && !p.over {
		var err error
		if p.ids, err = p.list(ctx, p.after, countPage); err != nil {
			return "", err
		}
		p.over = len(p.ids) < countPage
	}
	if len(p.ids) == 0 {
		return "", nil
	}
	p.after, p.ids = p.ids[0], p.ids[1:]
	return p.after, nil
}

func (l *Ledger) countKeys(ctx context.Context, folder string) (n int, err error) {
	for after := ""; ; {
		keys, err := l.store.List(ctx, folder, after, countPage)
		if n += len(keys); err != nil || len(keys) < countPage {
			return n, err
		}
		after = keys[len(keys)-1]
	}
}
