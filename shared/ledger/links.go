package ledger

import (
	"context"
	"errors"
	"time"

	"go-job-orchestrator/shared/job"
)

// links has an entry for each job with URLs to which its outputs can be sent past the functions. It
// says until when the URLs are valid.
const links = prefix + "links/"

// linkStep rounds the times of entries up, so that a job has few of them.
const linkStep = time.Hour

// linkLate is how long what was begun in time may still be on its way.
const linkLate = 2 * time.Hour

// BeginLinks notes that until a time files of the job may be stored without our doing. Should it
// have been removed by then, they are found and removed.
func (l *Ledger) BeginLinks(ctx context.Context, id job.ID, until time.Time) error {
	return l.store.Mark(ctx, links+expiryTime(until.Truncate(linkStep).Add(linkStep))+"-"+string(id))
}

// SweepLinks removes what was stored of jobs that were removed, once nothing more can come.
func (l *Ledger) SweepLinks(ctx context.Context) error {
	due := l.now().Add(-linkLate)
	_, err := l.sweep(ctx, links, func(key string) (bool, bool, error) {
		until, id, ok := parseExpiry(key)
		if !ok || until.After(due) {
			return false, !ok, nil
		}
		_, err := l.Index(ctx, id)
		if errors.Is(err, job.ErrNotFound) {
			err = l.store.RemoveAll(ctx, JobPrefix(id))
		}
		if err != nil {
			return false, true, err
		}
		return true, true, l.store.Remove(ctx, key)
	})
	return err
}
