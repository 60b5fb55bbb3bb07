package joblog

import (
	"context"
	"fmt"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/spool"
)

// The sizes of segments, as they are cut and merged. A merged one is held in memory while it is
// made.
const (
	maxUnmerged = 1 << 20
	maxMerged   = 8 << 20
	// MaxSegment is the most bytes a segment can have, header included.
	MaxSegment = maxMerged + maxHeader
	fanIn      = 32 // how many segments are merged into one
	// Bounds of headers. A program that writes to both streams in turn fills more segments.
	maxUnmergedRecords = 1024
	maxMergedRecords   = 96 << 10
)

// Interval is the time between two looks at the files where nothing tells that they have grown,
// and the time after which another segment may be stored: a line is to be readable within a second,
// and each segment costs a write. After a quiet spell a burst of segments may be stored without
// waiting.
const (
	Interval = 250 * time.Millisecond
	burst    = 4
)

// Put stores a segment. It may be called again with the same name and data.
type Put func(ctx context.Context, name string, data []byte) error

// State is where shipping a log has got to. The zero State is the beginning.
type State struct {
	Next           uint64 `json:"next"` // number of the next segment
	spool.Position        // of its first byte
}

// Shipper stores a growing spool as segments. Its methods must not be called concurrently.
type Shipper struct {
	order  *orderReader
	put    Put
	state  State
	levels [][]segment // of each size, what is not merged yet
	failed *segment    // could not be stored; is to be stored again, with the same bytes

	// MinInterval returns the time after which another segment may be stored, in place of Interval. It
	// may be nil.
	MinInterval func() time.Duration
}

// segment is what was stored under a name.
type segment struct {
	Range
	Header
	data []byte // while it is being stored
}

// NewShipper returns a Shipper that goes on from a state.
func NewShipper(files spool.Files, from State, put Put) *Shipper {
	return &Shipper{order: &orderReader{files: files, at: from.Position}, put: put, state: from}
}

// Run ships what is new, as soon as it is written if that is not too often, until ctx ends. What
// cannot be stored is tried again.
func (s *Shipper) Run(ctx context.Context) {
	s.run(ctx, writes(ctx, s.order.files.Order))
}

func (s *Shipper) run(ctx context.Context, written <-chan struct{}) {
	var spent time.Time // when all of the burst can be used again
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-written:
		case <-look.C: // notices can be missed, and there are none everywhere
		}
		before := s.state.Next
		err := s.Flush(ctx) // tried again later, and at the end by who waits for it
		interval := Interval
		if s.MinInterval != nil {
			interval = s.MinInterval()
		}
		if now := time.Now(); s.state.Next > before || err != nil {
			spent = later(spent, now).Add(interval)
		}
		if !backoff.Wait(ctx, min(time.Until(spent.Add(-(burst-1)*interval)), interval)) {
			return
		}
		look.Reset(Interval)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Flush ships all that is new.
func (s *Shipper) Flush(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil { // a program may write faster than we ship
			return fmt.Errorf("ship log: %w", err)
		}
		seg, err := s.cut()
		if seg == nil || err != nil {
			return err
		}
		if err := s.ship(ctx, seg); err != nil {
			return err
		}
	}
}

// Finish ships all that there is of a spool to which nobody writes any more.
func (s *Shipper) Finish(ctx context.Context) error {
	// What was written just before a crash has no record.
	if err := s.order.files.Repair(); err != nil {
		return fmt.Errorf("ship log: %w", err)
	}
	return s.Flush(ctx)
}

// cut returns the next segment, or nil when there is nothing new.
func (s *Shipper) cut() (*segment, error) {
	if s.failed != nil {
		return s.failed, nil
	}
	if err := s.order.load(); err != nil {
		return nil, err
	}
	records := s.order.next()
	if len(records) == 0 {
		return nil, nil //nolint:nilnil // nothing new is no error
	}
	seg := &segment{Range: Range{s.state.Next, s.state.Next}, Header: Header{s.state.Position, records}}
	if err := s.fill(seg); err != nil {
		return nil, err
	}
	s.order.shipped(seg.End())
	return seg, nil
}

// fill reads a segment's bytes from the files.
func (s *Shipper) fill(seg *segment) error {
	line, err := seg.encode()
	if err != nil {
		return err
	}
	data := make([]byte, int64(len(line))+seg.Body())
	body, at := data[copy(data, line):], seg.Start
	for _, r := range seg.Records {
		for _, stream := range []spool.Stream{spool.Stdout, spool.Stderr} {
			offset, end := at.Of(stream), *r.End.Of(stream)
			chunk := body[:end-*offset]
			if err := s.order.read(stream, chunk, *offset); err != nil {
				return err
			}
			*offset = end
			body = body[len(chunk):]
		}
	}
	seg.data = data
	return nil
}

func (s *Shipper) ship(ctx context.Context, seg *segment) error {
	if err := s.put(ctx, seg.Name(), seg.data); err != nil {
		s.failed = seg
		return fmt.Errorf("ship log: %w", err)
	}
	s.failed = nil
	seg.data = nil
	s.state.Next++
	s.state.Position = seg.End()
	s.add(ctx, 0, *seg)
	return nil
}

// add notes a stored segment, and merges those of its level when there are enough of them. Where
// merging is not possible or fails, the segments stay as they are.
func (s *Shipper) add(ctx context.Context, level int, seg segment) {
	if level == len(s.levels) {
		s.levels = append(s.levels, nil)
	}
	s.levels[level] = append(s.levels[level], seg)
	if len(s.levels[level]) < fanIn {
		return
	}
	segments := s.levels[level]
	s.levels[level] = nil
	merged, ok := s.merge(segments)
	if !ok || s.put(ctx, merged.Name(), merged.data) != nil {
		// Segments before these and after these must not be merged into one that covers these too: it
		// would have these removed, but not have their bytes.
		clear(s.levels[level+1:])
		return
	}
	merged.data = nil
	s.add(ctx, level+1, merged)
}

// merge returns one segment with the bytes of several, unless it would be too large or the files do
// not have the bytes any more.
func (s *Shipper) merge(segments []segment) (segment, bool) {
	first, last := segments[0], segments[len(segments)-1]
	merged := segment{Range: Range{first.First, last.Last}, Header: Header{Start: first.Start}}
	for _, s := range segments {
		merged.Records = append(merged.Records, s.Records...)
	}
	if merged.Body() > maxMerged || len(merged.Records) > maxMergedRecords {
		return segment{}, false
	}
	return merged, s.fill(&merged) == nil
}
