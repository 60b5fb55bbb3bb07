package logstore

import (
	"context"
	"encoding/json"
	"errors"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
)

// extent is bytes of one stream that lie together in one blob.
type extent struct {
	stream joblog.Stream
	key    string
	offset int64 // in the blob
	bytes  int64
	before joblog.Position // how much of each stream came before
	data   []byte          // the bytes, if they have been read
}

// at is where the bytes begin in their stream.
func (e *extent) at() int64 { return *e.before.Of(e.stream) }

// end is the position behind the extent.
func (e *extent) end() joblog.Position {
	p := e.before
	*p.Of(e.stream) += e.bytes
	return p
}

// part is a piece of the log whose extents are looked up when they are needed.
type part struct {
	joblog.Range
	load func(ctx context.Context) ([]extent, error)
}

// whole is the log of a job that is over, from the stored files. The error is of kind job.ErrNotFound when they are not there.
func whole(ctx context.Context, s *store.Store, id job.ID) ([]part, error) {
	var left joblog.Position
	for stream, name := range map[joblog.Stream]string{joblog.Stdout: job.StdoutFile, joblog.Stderr: job.StderrFile} {
		info, err := s.Stat(ctx, ledger.ResultKey(id, name))
		if err != nil {
			return nil, err
		}
		*left.Of(stream) = info.Size
	}
	order, err := readOrder(ctx, s, id)
	if err != nil {
		return nil, err
	}
	// The files are what counts. What the order has more or less than they is left out or comes last.
	var fitted joblog.Order
	for _, r := range append(order.Runs, joblog.Run{Stream: joblog.Stdout, Bytes: left.Stdout}, joblog.Run{Stream: joblog.Stderr, Bytes: left.Stderr}) {
		r.Bytes = min(r.Bytes, *left.Of(r.Stream))
		*left.Of(r.Stream) -= r.Bytes
		fitted.Runs = append(fitted.Runs, r)
	}
	extents := wholeExtents(id, fitted.Runs)
	return []part{{load: func(context.Context) ([]extent, error) { return extents, nil }}}, nil
}

func wholeExtents(id job.ID, runs []joblog.Run) []extent {
	var at joblog.Position
	var extents []extent
	for _, r := range runs {
		if r.Bytes <= 0 {
			continue
		}
		key := ledger.ResultKey(id, job.StdoutFile)
		if r.Stream == joblog.Stderr {
			key = ledger.ResultKey(id, job.StderrFile)
		}
		e := extent{stream: r.Stream, key: key, offset: *at.Of(r.Stream), bytes: r.Bytes, before: at}
		extents = append(extents, e)
		at = e.end()
	}
	return extents
}

func readOrder(ctx context.Context, s *store.Store, id job.ID) (joblog.Order, error) {
	var o joblog.Order
	data, err := s.Read(ctx, ledger.OrderKey(id))
	if errors.Is(err, job.ErrNotFound) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	if json.Unmarshal(data, &o) != nil {
		return joblog.Order{}, nil // a log out of order is better than none
	}
	return o, nil
}

// live is the log of a job that is not over, from its segments.
func live(ctx context.Context, s *store.Store, id job.ID) ([]part, error) {
	ranges, err := list(ctx, s, id)
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, r := range uncovered(ranges) {
		parts = append(parts, piece(s, id, r))
	}
	return parts, nil
}

// piece is a segment, which need not be there.
func piece(s *store.Store, id job.ID, r joblog.Range) part {
	return part{Range: r, load: func(ctx context.Context) ([]extent, error) {
		h, err := openHead(ctx, s, id, r)
		if err != nil {
			return nil, err
		}
		return segmentExtents(ledger.LogPrefix(id)+r.Name(), h), nil
	}}
}

func segmentExtents(key string, h *head) []extent {
	at, offset := h.Position, h.length
	extents := make([]extent, 0, len(h.Runs))
	for _, r := range h.Runs {
		e := extent{stream: r.Stream, key: key, offset: offset, bytes: r.Bytes, before: at}
		if h.body != nil {
			begin := offset - h.length
			e.data = h.body[begin : begin+r.Bytes]
		}
		extents = append(extents, e)
		offset += r.Bytes
		at = e.end()
	}
	return extents
}
