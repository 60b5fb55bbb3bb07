package logstore

import (
	"context"
	"errors"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
)

// Records tells whether a job is over.
type Records interface {
	Over(ctx context.Context, id job.ID) (bool, error)
	Live(ctx context.Context, id job.ID) (*job.Index, error)
}

// Reader reads logs. While it follows it looks for more when something was stored in this process,
// and otherwise so long after it found something: FirstPoll, then ever longer up to LastPoll. For
// the first line it looks more often: it is late by a sixteenth of the time it took.
type Reader struct {
	Store               *store.Store
	Records             Records
	FirstPoll, LastPoll time.Duration
}

// cursor reads one log forward. All it knows of the place it is at is its offset, so it does not
// matter how the log is cut up or that this changes while it reads.
type cursor struct {
	*Reader
	Query
	id    job.ID
	sink  Sink
	blobs blobs
	at    int64
	since time.Time // when it began to read
	next  uint64    // segments with lower numbers were delivered
	pause time.Duration
	gaps  int // how often in a row a segment was missing before another
}

// Copy gives the log of a job to a sink and returns the offset behind the last byte of it, from
// which another call goes on. It follows until the job is over or gone, the attempt that is asked
// for has ended, or stop is closed.
func (r *Reader) Copy(
	ctx context.Context, id job.ID, q Query, stop <-chan struct{}, to Sink,
) (offset int64, err error) {
	c := &cursor{Reader: r, Query: q, id: id, sink: to, blobs: blobs{store: r.Store}, since: time.Now()}
	defer c.blobs.closeAll()
	err = c.copy(ctx, stop)
	if errors.Is(err, errPast) {
		err = nil
	}
	if err == nil {
		err = to.Flush()
	}
	return c.at, err
}

func (c *cursor) copy(ctx context.Context, stop <-chan struct{}) error {
	var changed <-chan struct{}
	if c.Follow { // before the first look, so that nothing is stored between a look and the wait for more
		var leave func()
		changed, leave = c.Store.Watch(ledger.LogPrefix(c.id), ledger.JobPrefix(c.id))
		defer leave()
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	for woken := false; ; {
		before := c.at
		over, again, err := c.look(ctx, woken)
		switch {
		case err != nil:
			return err
		case again && !over:
		case again:
			continue // the segments have just gone; the whole files are there
		case over || !c.Follow:
			return nil
		}
		if _, err := c.Records.Live(ctx, c.id); err != nil {
			if errors.Is(err, job.ErrNotFound) {
				err = nil // removed while it was followed
			}
			return err
		}
		if err := c.sink.Flush(); err != nil {
			return err
		}
		var more bool
		if more, woken = c.wait(ctx, stop, changed, c.at != before); !more {
			return ctx.Err()
		}
	}
}

// look writes what there is, and reports whether it is to be looked for again, and whether the job
// is over: then all is there. A list is needed only if nothing tells what comes next.
func (c *cursor) look(ctx context.Context, woken bool) (over, again bool, err error) {
	found := false
	if woken {
		if found, err = c.ahead(ctx); err != nil {
			return false, false, err
		}
	}
	// Asked before reading: what is written before a job is over is all there once it is.
	if over, err = c.Records.Over(ctx, c.id); err != nil || found && !over {
		return over, false, err
	}
	again, err = c.deliver(ctx, over)
	return over, again, err
}

// wait waits until it is time to look again, and returns false when nobody is to look any more.
// woken is true when something was stored.
func (c *cursor) wait(ctx context.Context, stop, changed <-chan struct{}, found bool) (more, woken bool) {
	t := time.NewTimer(c.nextPause(found))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-stop:
		return false, false
	case <-changed:
		return true, true
	case <-t.C:
		return true, false
	}
}

// nextPause returns how long to wait until the next look.
func (c *cursor) nextPause(found bool) time.Duration {
	c.pause += c.pause / 2
	switch {
	case c.at == 0:
		c.pause = max(time.Since(c.since)/16, c.FirstPoll/4)
	case found || c.pause == 0:
		c.pause = c.FirstPoll
	}
	c.pause = min(c.pause, c.LastPoll)
	return c.pause
}
