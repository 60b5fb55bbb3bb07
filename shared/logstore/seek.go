package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go-job-orchestrator/shared/job"
)

// start puts the cursor where the query begins.
func (c *cursor) start(ctx context.Context) error {
	c.at = c.From
	if c.From == 0 && c.Tail == All && c.Since.IsZero() && c.Attempt == 0 {
		return nil
	}
	for range maxRestarts {
		over, err := c.Records.Over(ctx, c.id)
		if err != nil {
			return err
		}
		segments, err := c.segments(ctx, over)
		if err != nil {
			return err
		}
		at, err := c.find(ctx, segments)
		if errors.Is(err, job.ErrNotFound) {
			continue // merged meanwhile
		}
		if err != nil {
			return err
		}
		c.at = at.offset
		if !over {
			c.next = at.segment
		}
		return nil
	}
	return fmt.Errorf("find the end of the log: %w", job.ErrUnavailable)
}

// Before returns the last byte that comes before q.From in what the query wants, or a newline if
// there is none.
func (r *Reader) Before(ctx context.Context, id job.ID, q Query) (byte, error) {
	c := &cursor{Reader: r, Query: q, id: id}
	b := blocks{store: r.Store}
	for range maxRestarts {
		last, err := c.before(ctx, &b)
		if !errors.Is(err, job.ErrNotFound) {
			return last, err
		}
	}
	return 0, fmt.Errorf("find a place in the log: %w", job.ErrUnavailable)
}

func (c *cursor) before(ctx context.Context, b *blocks) (byte, error) {
	over, err := c.Records.Over(ctx, c.id)
	if err != nil {
		return 0, err
	}
	segments, err := c.segments(ctx, over)
	if err != nil {
		return 0, err
	}
	n, _, err := search(ctx, segments, func(e *storedChunk) bool { return c.offset(e.after()) >= c.From })
	if err != nil {
		return 0, err
	}
	for _, p := range slices.Backward(segments[:min(n+1, len(segments))]) {
		list, err := p.load(ctx)
		if err != nil && !errors.Is(err, errTorn) {
			return 0, err
		}
		for i := len(list) - 1; i >= 0; i-- {
			e := &list[i]
			if end := min(c.From-c.offset(e.before), e.bytes); end > 0 && c.wants(e) {
				last, err := b.read(ctx, e, end-1, end)
				if err != nil {
					return 0, err
				}
				return last[0], nil
			}
		}
	}
	return '\n', nil
}

// beginning is where to begin to read: an offset, and the number of the segment that it lies in, or
// of an earlier one.
type beginning struct {
	offset  int64
	segment uint64
}

// find returns the last of the places where the query demands to begin.
func (c *cursor) find(ctx context.Context, segments []segment) (beginning, error) {
	var last beginning
	found := func(b beginning, err error) error {
		if err == nil && b.offset > last.offset {
			last = b
		}
		return err
	}
	if c.From > 0 {
		b, err := c.first(ctx, segments, func(e *storedChunk) bool { return c.offset(e.after()) > c.From })
		b.offset = c.From
		if err := found(b, err); err != nil {
			return last, err
		}
	}
	if c.Attempt > 0 {
		if err := found(c.first(ctx, segments, func(e *storedChunk) bool { return e.attempt >= c.Attempt })); err != nil {
			return last, err
		}
	}
	if !c.Since.IsZero() {
		if err := found(c.first(ctx, segments, func(e *storedChunk) bool { return !e.at.Before(c.Since) })); err != nil {
			return last, err
		}
	}
	if c.Tail != All {
		if err := found(c.tail(ctx, segments)); err != nil {
			return last, err
		}
	}
	return last, nil
}

// behind returns the segments that have something behind the cursor.
func (c *cursor) behind(ctx context.Context, segments []segment) ([]segment, error) {
	i, _, err := search(ctx, segments, func(e *storedChunk) bool { return c.offset(e.after()) > c.at })
	return segments[min(i, len(segments)):], err
}

// first returns where the first chunk begins for which is is true, as it must be for all that
// follow; the end of the log if there is none.
func (c *cursor) first(ctx context.Context, segments []segment, is func(*storedChunk) bool) (beginning, error) {
	i, list, err := search(ctx, segments, is)
	if err != nil || len(list) == 0 {
		return beginning{}, err
	}
	if i == len(segments) {
		return beginning{c.offset(list[len(list)-1].after()), segments[i-1].Last + 1}, nil
	}
	for j := range list {
		if is(&list[j]) {
			return beginning{c.offset(list[j].before), segments[i].First}, nil
		}
	}
	return beginning{}, nil
}

// search returns the index of the first part that has a stored chunk for which is is true, with its
// chunks; if there is none, the number of segments, with the chunks of the last one that has some.
func search(ctx context.Context, segments []segment, is func(*storedChunk) bool) (int, []storedChunk, error) {
	low, high, best := 0, len(segments), len(segments)
	var bestList, lastList []storedChunk
	for low < high {
		middle := int(uint(low+high) / 2)
		at, list, err := filled(ctx, segments[:high], middle)
		switch {
		case err != nil:
			return 0, nil, err
		case len(list) == 0: // what comes before decides
			high = middle
		case is(&list[len(list)-1]):
			best, bestList, high = at, list, middle
		default:
			low, lastList = at+1, list
		}
	}
	if best == len(segments) {
		return best, lastList, nil
	}
	return best, bestList, nil
}

// filled returns the first of the segments from i on that has something. Of a segment that was cut
// short nothing is left.
func filled(ctx context.Context, segments []segment, i int) (int, []storedChunk, error) {
	for ; i < len(segments); i++ {
		list, err := segments[i].load(ctx)
		if err != nil && !errors.Is(err, errTorn) {
			return 0, nil, err
		}
		if len(list) > 0 {
			return i, list, nil
		}
	}
	return i, nil, nil
}

// tail returns where the last lines of what is wanted begin. It reads blocks backwards, and no more
// of them than hold those lines.
func (c *cursor) tail(ctx context.Context, segments []segment) (beginning, error) {
	s := seeker{blocks: blocks{store: c.Store}, left: c.Tail}
	var at beginning
	begun := false
	for _, p := range slices.Backward(segments) {
		list, err := p.load(ctx)
		if errors.Is(err, errTorn) {
			continue
		}
		if err != nil {
			return at, err
		}
		for i := len(list) - 1; i >= 0; i-- {
			e := &list[i]
			if !begun {
				at, begun = beginning{c.offset(e.after()), p.First}, true
			}
			if c.Tail == 0 {
				return at, nil
			}
			if !c.wants(e) {
				continue
			}
			n, err := s.find(ctx, e)
			if err != nil {
				return at, err
			}
			if n >= 0 {
				return beginning{c.offset(e.before) + n, p.First}, nil
			}
		}
	}
	return beginning{}, nil // the log has no more lines than are wanted
}

// seeker counts lines backwards.
type seeker struct {
	blocks
	left  int
	begun bool
}

// find returns where in a stored chunk the tail begins, or -1 when it begins further ahead.
func (s *seeker) find(ctx context.Context, e *storedChunk) (int64, error) {
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

// scan returns the index behind the newline before the first line of the tail, or -1 when the tail
// begins further ahead.
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
