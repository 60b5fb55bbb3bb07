package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
)

// All is the Tail that is the whole log.
const All = -1

// Query says which part of a log to read.
type Query struct {
	Streams []joblog.Stream
	Tail    int              // so many last lines, or All
	From    *joblog.Position // instead of Tail: from there on
	Follow  bool             // until the job is over
}

// Records tells whether a job is over.
type Records interface {
	Over(ctx context.Context, id job.ID) (bool, error)
	Live(ctx context.Context, id job.ID) (*job.Index, error)
}

// Reader reads logs. While it follows it looks for more when something was stored in this process, and otherwise so long after it found
// something: FirstPoll, then ever longer up to LastPoll. For the first line it looks more often: it is late by a sixteenth of the time it took.
type Reader struct {
	Store               *store.Store
	Records             Records
	FirstPoll, LastPoll time.Duration
}

// blockSize is how much is read at a time to find the beginning of a tail.
const blockSize = 64 << 10

// cursor reads one log forward. All it knows of the place it is at are the bytes of each stream that came before,
// so it does not matter how the log is cut up or that this changes while it reads.
type cursor struct {
	*Reader
	id      job.ID
	streams []joblog.Stream
	at      joblog.Position
	since   time.Time // when it began to read
	next    uint64    // pieces with lower numbers were delivered
	pause   time.Duration
	gaps    int // how often in a row a piece was missing before another
}

// Copy writes the log of a job to w, byte by byte as the program wrote it, and returns the position behind the last
// byte written. It follows until the job is over or gone, or stop is closed.
func (r *Reader) Copy(ctx context.Context, id job.ID, q Query, stop <-chan struct{}, w io.Writer) (joblog.Position, error) {
	c := &cursor{Reader: r, id: id, streams: q.Streams, since: time.Now()}
	var changed <-chan struct{}
	if q.Follow { // before the first look, so that nothing is stored between a look and the wait for more
		var leave func()
		changed, leave = r.Store.Watch(ledger.LogPrefix(id), ledger.JobPrefix(id))
		defer leave()
	}
	if err := c.start(ctx, q); err != nil {
		return c.at, err
	}
	for woken := false; ; {
		before := c.at
		over, again, err := c.look(ctx, woken, w)
		switch {
		case err != nil:
			return c.at, err
		case again && !over:
		case again:
			continue // the pieces have just gone; the whole files are there
		case over || !q.Follow:
			return c.at, nil
		}
		if _, err := r.Records.Live(ctx, id); err != nil {
			if errors.Is(err, job.ErrNotFound) {
				err = nil // removed while it was followed
			}
			return c.at, err
		}
		var more bool
		if more, woken = c.wait(ctx, stop, changed, c.at != before); !more {
			return c.at, ctx.Err()
		}
	}
}

// look writes what there is, and reports whether it is to be looked for again, and whether the job is over: then all is there. A list is needed
// only if nothing tells what comes next.
func (c *cursor) look(ctx context.Context, woken bool, w io.Writer) (over, again bool, err error) {
	found := false
	if woken {
		if found, err = c.ahead(ctx, w); err != nil {
			return false, false, err
		}
	}
	// Asked before reading: what is written before a job is over is all there once it is.
	if over, err = c.Records.Over(ctx, c.id); err != nil || found && !over {
		return over, false, err
	}
	again, err = c.deliver(ctx, over, w)
	return over, again, err
}

// wait waits until it is time to look again, and returns false when nobody is to look any more. woken is true when something was stored.
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
	case c.at == joblog.Position{}:
		c.pause = max(time.Since(c.since)/16, c.FirstPoll/4)
	case found || c.pause == 0:
		c.pause = c.FirstPoll
	}
	c.pause = min(c.pause, c.LastPoll)
	return c.pause
}

// parts returns the log as it can be read now.
func (c *cursor) parts(ctx context.Context, over bool) ([]part, error) {
	if over {
		parts, err := whole(ctx, c.Store, c.id)
		if !errors.Is(err, job.ErrNotFound) {
			return parts, err
		}
	}
	return live(ctx, c.Store, c.id)
}

// deliver writes what lies behind the cursor. again is true when a blob vanished while it was read: merged
// into another, or the job has ended.
func (c *cursor) deliver(ctx context.Context, over bool, w io.Writer) (again bool, err error) {
	parts, err := c.parts(ctx, over)
	if err != nil {
		return false, err
	}
	for _, p := range parts {
		if p.Last < c.next && !over {
			continue
		}
		err := c.part(ctx, p, w)
		switch {
		case errors.Is(err, errTorn) && over:
			continue
		case errors.Is(err, errTorn): // it is the last, until another is stored in its place
			c.gaps = 0
			return false, nil
		case errors.Is(err, job.ErrNotFound):
			return true, nil
		case err != nil:
			return false, err
		}
		if !over {
			c.next = p.Last + 1
		}
	}
	c.gaps = 0
	return false, nil
}

// maxAhead bounds how many pieces are read without a look at anything else. More than that are merged soon.
const maxAhead = 32

// ahead writes the pieces that come next, whose names are known without a list. It returns false when there may be more: the first of them is not
// there, since it may have been merged, or too many are.
func (c *cursor) ahead(ctx context.Context, w io.Writer) (found bool, err error) {
	for range maxAhead {
		err := c.part(ctx, piece(c.Store, c.id, joblog.Range{First: c.next, Last: c.next}), w)
		if errors.Is(err, job.ErrNotFound) || errors.Is(err, errTorn) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		c.next++
		found = true
	}
	return false, nil
}

// part writes what of a part lies behind the cursor.
func (c *cursor) part(ctx context.Context, p part, w io.Writer) error {
	extents, err := p.load(ctx)
	if err != nil {
		return err
	}
	for _, e := range extents {
		if err := c.extent(ctx, e, w); err != nil {
			return err
		}
	}
	return nil
}

// extent writes what of an extent lies behind the cursor.
func (c *cursor) extent(ctx context.Context, e extent, w io.Writer) error {
	at := c.at.Of(e.stream)
	skip := max(*at-e.at(), 0)
	if skip >= e.bytes || !slices.Contains(c.streams, e.stream) {
		return nil
	}
	if e.at() > *at && c.gaps < maxRestarts {
		c.gaps++
		return errGap
	}
	in, err := c.open(ctx, e, skip, e.bytes)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(w, in)
	*at = e.at() + skip + n
	return err
}

// open reads a part of an extent.
func (r *Reader) open(ctx context.Context, e extent, begin, end int64) (io.ReadCloser, error) {
	if e.data != nil {
		return io.NopCloser(bytes.NewReader(e.data[begin:end])), nil
	}
	return r.Store.Open(ctx, e.key, e.offset+begin, end-begin)
}

// errGap means that what comes before a piece was not listed: a list is not of one moment, and pieces go when they were merged and when the job
// has ended. It is there when it is looked for anew.
var errGap = fmt.Errorf("a piece of the log: %w", job.ErrNotFound)

// maxRestarts bounds how often a piece, or a tail, is looked for anew because the log was merged meanwhile. What is not found then is lost.
const maxRestarts = 20

// start puts the cursor where the query begins.
func (c *cursor) start(ctx context.Context, q Query) error {
	if q.From != nil {
		c.at = *q.From
		return nil
	}
	if q.Tail == All {
		return nil
	}
	for range maxRestarts {
		over, err := c.Records.Over(ctx, c.id)
		if err != nil {
			return err
		}
		parts, err := c.parts(ctx, over)
		if err != nil {
			return err
		}
		err = c.seek(ctx, parts, q.Tail)
		if !errors.Is(err, job.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("find the end of the log: %w", job.ErrUnavailable)
}

// seek puts the cursor before the last lines of the log. It reads blocks backwards, and no more of them than hold those
// lines.
func (c *cursor) seek(ctx context.Context, parts []part, lines int) error {
	s := seeker{cursor: c, left: lines}
	end := true
	for _, p := range slices.Backward(parts) {
		extents, err := p.load(ctx)
		if errors.Is(err, errTorn) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(extents) {
			if end {
				c.at, c.next, end = e.end(), p.First, false
			}
			if lines == 0 {
				return nil
			}
			if !slices.Contains(c.streams, e.stream) {
				continue
			}
			i, err := s.find(ctx, e)
			if err != nil {
				return err
			}
			if i >= 0 {
				c.at, c.next = e.before, p.First
				*c.at.Of(e.stream) += i
				return nil
			}
		}
	}
	c.at, c.next = joblog.Position{}, 0 // the log has no more lines than are wanted
	return nil
}

// seeker counts lines backwards.
type seeker struct {
	*cursor
	left  int
	begun bool
}

// find returns where in an extent the tail begins, or -1 when it begins further ahead.
func (s *seeker) find(ctx context.Context, e extent) (int64, error) {
	for end := e.bytes; end > 0; {
		begin := max(end-blockSize, 0)
		block, err := s.read(ctx, e, begin, end)
		if err != nil {
			return -1, err
		}
		if i := s.scan(block); i >= 0 {
			return begin + int64(i), nil
		}
		end = begin
	}
	return -1, nil
}

func (s *seeker) read(ctx context.Context, e extent, begin, end int64) ([]byte, error) {
	in, err := s.open(ctx, e, begin, end)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	block := make([]byte, end-begin)
	_, err = io.ReadFull(in, block)
	return block, err
}

// scan returns the index behind the newline before the first line of the tail, or -1 when the tail begins further
// ahead.
func (s *seeker) scan(block []byte) int {
	end := len(block)
	if !s.begun {
		s.begun = true
		end-- // the log's last byte, newline or not, belongs to its last line
	}
	for {
		i := bytes.LastIndexByte(block[:end], '\n')
		if i < 0 {
			return -1
		}
		if s.left--; s.left == 0 {
			return i + 1
		}
		end = i
	}
}
