package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
)

// segments returns the log as it can be read now.
func (c *cursor) segments(ctx context.Context, over bool) ([]segment, error) {
	if over {
		segments, err := whole(ctx, c.Store, c.id)
		if !errors.Is(err, job.ErrNotFound) {
			return segments, err
		}
	}
	return live(ctx, c.Store, c.id)
}

// deliver gives what lies behind the cursor to the sink. again is true when a blob vanished while
// it was read: merged into another, or the job has ended.
func (c *cursor) deliver(ctx context.Context, over bool) (again bool, err error) {
	segments, err := c.segments(ctx, over)
	if err != nil {
		return false, err
	}
	if c.at > 0 && len(segments) > 0 && !segments[0].shipped {
		if segments, err = c.behind(ctx, segments); err != nil {
			return errors.Is(err, job.ErrNotFound), ignoreNotFound(err)
		}
	}
	for _, p := range segments {
		if p.Last < c.next && !over {
			continue
		}
		err := c.segment(ctx, p)
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

// maxAhead bounds how many segments are read without a look at anything else. More than that are
// merged soon.
const maxAhead = 32

// ahead delivers the segments that come next, whose names are known without a list. It returns
// false when there may be more: the first of them is not there, since it may have been merged, or
// too many are.
func (c *cursor) ahead(ctx context.Context) (found bool, err error) {
	for range maxAhead {
		err := c.segment(ctx, shippedSegment(c.Store, c.id, joblog.Range{First: c.next, Last: c.next}))
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

// segment delivers what of a segment lies behind the cursor.
func (c *cursor) segment(ctx context.Context, s segment) error {
	chunks, err := s.load(ctx)
	if err != nil {
		return err
	}
	for i := range chunks {
		if err := c.chunk(ctx, &chunks[i]); err != nil {
			return err
		}
	}
	if n := len(chunks); n > 0 && s.shipped {
		c.blobs.close(chunks[n-1].key) // a segment, all of which was read
	}
	return nil
}

// errPast means that the attempt that is asked for has ended.
var errPast = errors.New("a later attempt")

// chunk delivers what of a stored chunk lies behind the cursor.
func (c *cursor) chunk(ctx context.Context, e *storedChunk) error {
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
			return c.blobs.reader(ctx, e, skip)
		}
		if err := c.sink.Take(chunk); err != nil {
			return err
		}
	}
	c.at = end
	return nil
}

// errGap means that what comes before a segment was not listed: a list is not of one moment, and
// segments go when they were merged and when the job has ended. It is there when it is looked for
// anew.
var errGap = fmt.Errorf("a segment of the log: %w", job.ErrNotFound)

// maxRestarts bounds how often a segment, or a tail, is looked for anew because the log was merged
// meanwhile. What is not found then is lost.
const maxRestarts = 20
