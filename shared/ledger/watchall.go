package ledger

import (
	"context"

	"go-job-orchestrator/shared/job"
)

// IDs returns the IDs of at most q.Limit jobs, newest first, without reading the jobs. A job may
// have ended or gone by then, so its Summary counts. During an upgrade there may be jobs of other
// owners, too; see formerowners.go.
func (l *Ledger) IDs(ctx context.Context, q Query) ([]job.ID, error) {
	sources, err := l.sources(ctx, q)
	if err != nil {
		return nil, err
	}
	return intersect(sources)(ctx, q.After, q.Limit)
}

// Summary returns what a list shows of a job. The error is of kind job.ErrNotFound if there is no
// such job.
func (l *Ledger) Summary(ctx context.Context, id job.ID) (*job.Summary, error) {
	return l.summary(ctx, id)
}

// WatchAll returns a channel that has a value once this process has accepted, started or ended a
// job. What other processes do is not told. The caller calls leave when it no longer watches.
func (l *Ledger) WatchAll() (changed <-chan struct{}, leave func()) {
	return l.store.Watch(active, running)
}
