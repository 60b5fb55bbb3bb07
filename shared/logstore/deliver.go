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
