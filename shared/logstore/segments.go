package logstore

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/store"
)

// storedChunk is bytes of one stream that lie together in one blob.
type storedChunk struct {
	stream  spool.Stream
	at      time.Time // when they were read from the program
	attempt int
	key     string
	offset  int64 // in the blob
	bytes   int64
	before  spool.Position // of the first byte
	data    []byte         // the bytes, if they have been read
}

// after is the position behind the last byte.
func (e *storedChunk) after() spool.Position {
	end := e.before
	*end.Of(e.stream) += e.bytes
	return end
}

// segment is a part of the log whose chunks are looked up when they are needed: a segment as it was
// shipped, or some records of a whole log.
type segment struct {
	joblog.Range
	shipped bool // false: of a whole log
	load    func(ctx context.Context) ([]storedChunk, error)
}

// storedChunks returns the bytes that records tell of. locate tells where bytes that follow each
// other lie.
func storedChunks(start spool.Position, records []spool.Record, locate func(e *storedChunk)) []storedChunk {
	list := make([]storedChunk, 0, len(records))
	for _, r := range records {
		for _, s := range []spool.Stream{spool.Stdout, spool.Stderr} {
			e := storedChunk{stream: s, at: r.At, attempt: r.Attempt, bytes: *r.End.Of(s) - *start.Of(s), before: start}
			if e.bytes <= 0 {
				continue
			}
			locate(&e)
			list = append(list, e)
			*start.Of(s) = *r.End.Of(s)
		}
	}
	return list
}

// whole is the log of a job that is over, from the stored files. The error is of kind
// job.ErrNotFound when they are not there.
func whole(ctx context.Context, s *store.Store, id job.ID) ([]segment, error) {
	keys := wholeKeys(id)
	var sizes spool.Position
	for _, stream := range []spool.Stream{spool.Stdout, spool.Stderr} {
		info, err := s.Stat(ctx, keys[stream])
		if err != nil {
			return nil, err
		}
		*sizes.Of(stream) = info.Size
	}
	order, err := openOrder(ctx, s, id, sizes)
	if err != nil {
		return nil, err
	}
	return order.segments(func(e *storedChunk) { e.key, e.offset = keys[e.stream], *e.before.Of(e.stream) }), nil
}

// blockRecords is how many records of a stored order are read at a time, and which orders are read
// as a whole.
const blockRecords = 2048

// order is the stored order of a whole log.
type order struct {
	store *store.Store
	key   string
	many  int64          // how many records there are
	data  []byte         // the records, if there are few
	sizes spool.Position // of the files, which are what counts
}

// openOrder finds the order of a log whose files have these sizes.
func openOrder(ctx context.Context, s *store.Store, id job.ID, sizes spool.Position) (*order, error) {
	o := &order{store: s, key: ledger.OrderKey(id), sizes: sizes}
	in, err := s.Open(ctx, o.key, 0, blockRecords*spool.RecordSize)
	if errors.Is(err, job.ErrNotFound) {
		return o, o.infer(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if o.many = in.Size / spool.RecordSize; o.many <= blockRecords {
		o.data, err = io.ReadAll(in)
	}
	return o, err
}

// infer makes the order of a log that has none. It needs none when nothing was written; logs of
// earlier versions have another one, or one stream. Of others the segments are there still.
func (o *order) infer(ctx context.Context, id job.ID) error {
	if o.sizes == (spool.Position{}) {
		return nil
	}
	var former struct {
		Runs []struct {
			Stream string `json:"stream"`
			Bytes  int64  `json:"bytes"`
		} `json:"runs"`
	}
	data, err := o.store.Read(ctx, ledger.FormerOrderKey(id))
	switch {
	case errors.Is(err, job.ErrNotFound):
		segments, err := list(ctx, o.store, id)
		if err == nil && len(segments) > 0 {
			err = job.ErrNotFound
		}
		return err
	case err != nil:
		return err
	}
	_ = json.Unmarshal(data, &former) // a log out of order is better than none
	var end spool.Position
	for _, r := range former.Runs {
		s, err := spool.ParseStream(r.Stream)
		if err == nil && r.Bytes > 0 {
			*end.Of(s) += min(r.Bytes, o.sizes.Total())
			o.data = append(o.data, spool.Record{End: end}.Encode()...)
		}
	}
	o.many = int64(len(o.data) / spool.RecordSize)
	return nil
}

// segments returns the log as segments, of which there is at least one.
func (o *order) segments(locate func(*storedChunk)) []segment {
	var segments []segment
	for first := int64(0); first == 0 || first < o.many; first += blockRecords {
		segments = append(segments, segment{load: func(ctx context.Context) ([]storedChunk, error) {
			start, records, err := o.load(ctx, first)
			if err != nil {
				return nil, err
			}
			return storedChunks(start, records, locate), nil
		}})
	}
	return segments
}

// load returns up to blockRecords records from the first on, and the position behind the one
// before. What the order has more or less than the files is left out or comes last.
func (o *order) load(ctx context.Context, first int64) (start spool.Position, records []spool.Record, err error) {
	last := min(first+blockRecords, o.many)
	data, err := o.read(ctx, max(first-1, 0), last)
	if err != nil {
		return start, nil, err
	}
	if first > 0 {
		start = o.fit(spool.Decode(data).End, start)
		data = data[spool.RecordSize:]
	}
	end := start
	for ; len(data) >= spool.RecordSize; data = data[spool.RecordSize:] {
		r := spool.Decode(data)
		r.End = o.fit(r.End, end)
		end = r.End
		records = append(records, r)
	}
	if last == o.many && end != o.sizes {
		records = append(records, spool.Record{End: o.sizes})
	}
	return start, records, nil
}

// fit returns the position within the files, and not before another.
func (o *order) fit(p, after spool.Position) spool.Position {
	return spool.Position{
		Stdout: max(min(p.Stdout, o.sizes.Stdout), after.Stdout),
		Stderr: max(min(p.Stderr, o.sizes.Stderr), after.Stderr),
	}
}

// read returns the records from first to before end.
func (o *order) read(ctx context.Context, first, end int64) ([]byte, error) {
	begin, length := first*spool.RecordSize, (end-first)*spool.RecordSize
	if o.many <= blockRecords {
		return o.data[begin : begin+length], nil
	}
	in, err := o.store.Open(ctx, o.key, begin, length)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data := make([]byte, length)
	_, err = io.ReadFull(in, data)
	return data, err
}

// live is the log of a job that is not over, from its segments.
func live(ctx context.Context, s *store.Store, id job.ID) ([]segment, error) {
	ranges, err := list(ctx, s, id)
	if err != nil {
		return nil, err
	}
	var segments []segment
	for _, r := range uncovered(ranges) {
		segments = append(segments, shippedSegment(s, id, r))
	}
	return segments, nil
}

// shippedSegment is a segment as it was shipped. It need not be there.
func shippedSegment(s *store.Store, id job.ID, r joblog.Range) segment {
	return segment{Range: r, shipped: true, load: func(ctx context.Context) ([]storedChunk, error) {
		h, err := openHead(ctx, s, id, r)
		if err != nil {
			return nil, err
		}
		return segmentChunks(ledger.LogPrefix(id)+r.Name(), h), nil
	}}
}

func segmentChunks(key string, h *head) []storedChunk {
	offset := h.length
	return storedChunks(h.Start, h.Records, func(e *storedChunk) {
		e.key, e.offset = key, offset
		if h.body != nil {
			begin := offset - h.length
			e.data = h.body[begin : begin+e.bytes]
		}
		offset += e.bytes
	})
}
