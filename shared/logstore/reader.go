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
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/store"
)

// All is the Tail that is the whole log.
const All = -1

// Query says which part of a log to read. Where several fields say where to begin, the last of
// these places counts.
type Query struct {
	Streams []spool.Stream
	Tail    int       // so many last lines, or All
	From    int64     // the offset in these streams, as Copy returned it
	Since   time.Time // what was written from then on; zero: all
	Attempt int       // what this attempt of the job wrote; 0: what all did
	Follow  bool      // until the job is over
}

// offset is how many bytes of the streams come before a position: of both it is that in the merged
// log.
func (q *Query) offset(p spool.Position) int64 {
	if len(q.Streams) == 1 {
		return *p.Of(q.Streams[0])
	}
	return p.Total()
}

func (q *Query) wants(e *extent) bool {
	return slices.Contains(q.Streams, e.stream) && (q.Attempt == 0 || e.attempt == q.Attempt)
}

// Chunk is bytes of one stream that follow each other in the log.
type Chunk struct {
	Stream  spool.Stream
	At      time.Time // when they were read from the program; zero if that is not known
	Attempt int       // 0 if that is not known
	Begin   spool.Position
	Bytes   int64
	Offset  int64 // of the first byte, in the streams that are asked for

	open func() (io.Reader, error)
}

// End is the position behind the last byte.
func (c *Chunk) End() spool.Position {
	end := c.Begin
	*end.Of(c.Stream) += c.Bytes
	return end
}

// Open returns what reads the bytes. It may be called once.
func (c *Chunk) Open() (io.Reader, error) { return c.open() }

// Sink takes a log chunk by chunk.
type Sink interface {
	// Take takes all the bytes of a chunk. An error of Open is to be returned as it is.
	Take(c *Chunk) error
	// Flush is called when nothing more may come for a while.
	Flush() error
}

// Text is a Sink that writes the bytes as the program wrote them.
type Text struct{ W io.Writer }

// Take writes a chunk.
func (t Text) Take(c *Chunk) error {
	in, err := c.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(t.W, in)
	return err
}

// Flush does nothing.
func (Text) Flush() error { return nil }

// Spool is a Sink that writes the log to a spool as it was in the one that it was shipped from.
type Spool struct{ Files spool.Files }

// Take writes a chunk.
func (s Spool) Take(c *Chunk) error {
	if err := (Text{s.Files.Of(c.Stream)}).Take(c); err != nil {
		return err
	}
	return (Order{s.Files.Order}).Take(c)
}

// Flush does nothing.
func (Spool) Flush() error { return nil }

// Order is a Sink that writes only the order of the log, as a spool has it.
type Order struct{ W io.Writer }

// Take writes the record of a chunk.
func (o Order) Take(c *Chunk) error {
	_, err := o.W.Write(spool.Record{At: c.At, Attempt: c.Attempt, End: c.End()}.Encode())
	return err
}

// Flush does nothing.
func (Order) Flush() error { return nil }

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
	next  uint64    // pieces with lower numbers were delivered
	pause time.Duration
	gaps  int // how often in a row a piece was missing before another
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
			continue // the pieces have just gone; the whole files are there
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

// deliver gives what lies behind the cursor to the sink. again is true when a blob vanished while
// it was read: merged into another, or the job has ended.
func (c *cursor) deliver(ctx context.Context, over bool) (again bool, err error) {
	parts, err := c.parts(ctx, over)
	if err != nil {
		return false, err
	}
	if c.at > 0 && len(parts) > 0 && !parts[0].segment {
		if parts, err = c.behind(ctx, parts); err != nil {
			return errors.Is(err, job.ErrNotFound), ignoreNotFound(err)
		}
	}
	for _, p := range parts {
		if p.Last < c.next && !over {
			continue
		}
		err := c.part(ctx, p)
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

func ignoreNotFound(err error) error {
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	return err
}

// maxAhead bounds how many pieces are read without a look at anything else. More than that are
// merged soon.
const maxAhead = 32

// ahead delivers the pieces that come next, whose names are known without a list. It returns false
// when there may be more: the first of them is not there, since it may have been merged, or too
// many are.
func (c *cursor) ahead(ctx context.Context) (found bool, err error) {
	for range maxAhead {
		err := c.part(ctx, piece(c.Store, c.id, joblog.Range{First: c.next, Last: c.next}))
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

// part delivers what of a part lies behind the cursor.
func (c *cursor) part(ctx context.Context, p part) error {
	extents, err := p.load(ctx)
	if err != nil {
		return err
	}
	for i := range extents {
		if err := c.extent(ctx, &extents[i]); err != nil {
			return err
		}
	}
	if n := len(extents); n > 0 && p.segment {
		c.blobs.close(extents[n-1].key) // a segment, all of which was read
	}
	return nil
}

// errPast means that the attempt that is asked for has ended.
var errPast = errors.New("a later attempt")

// extent delivers what of an extent lies behind the cursor.
func (c *cursor) extent(ctx context.Context, e *extent) error {
	begin, end := c.offset(e.before), c.offset(e.after())
	if begin == end || end <= c.at { // of another stream, or delivered
		return nil
	}
	if begin > c.at && c.gaps < maxRestarts {
		c.gaps++
		return errGap
	}
	c.at = max(begin, c.at)
	if c.Attempt > 0 && e.attempt > c.Attempt {
		return errPast
	}
	if c.wants(e) {
		skip := c.at - begin
		chunk := &Chunk{Stream: e.stream, At: e.at, Attempt: e.attempt, Begin: e.before, Bytes: e.bytes - skip, Offset: c.at}
		*chunk.Begin.Of(e.stream) += skip
		chunk.open = func() (io.Reader, error) {
			if e.data != nil {
				return bytes.NewReader(e.data[skip:]), nil
			}
			return c.blobs.extent(ctx, e, skip)
		}
		if err := c.sink.Take(chunk); err != nil {
			return err
		}
	}
	c.at = end
	return nil
}

// errGap means that what comes before a piece was not listed: a list is not of one moment, and
// pieces go when they were merged and when the job has ended. It is there when it is looked for
// anew.
var errGap = fmt.Errorf("a piece of the log: %w", job.ErrNotFound)

// maxRestarts bounds how often a piece, or a tail, is looked for anew because the log was merged
// meanwhile. What is not found then is lost.
const maxRestarts = 20
