// Package logstore keeps the logs of jobs in the bucket: as segments while a program runs and as
// whole files afterwards, and reads both as one.
package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/store"
)

// maxSegments bounds how many segments one log is expected to have; merging keeps it at some dozens
// and one for each few MiB.
const maxSegments = 1 << 20

// Accept stores a segment of a job's log, and removes those that it holds the bytes of.
func Accept(ctx context.Context, s *store.Store, id job.ID, name string, data io.Reader) error {
	r, err := joblog.ParseName(name)
	if err != nil {
		return err
	}
	tooLarge := job.Refuse(job.ErrTooLarge, "", fmt.Sprintf("a log segment has at most %d bytes", joblog.MaxSegment))
	key, body := ledger.LogPrefix(id)+name, &capped{data, joblog.MaxSegment, tooLarge}
	if r.First == r.Last { // somebody may wait for it
		return s.PutEarly(ctx, key, body)
	}
	if _, err := s.Put(ctx, key, body); err != nil {
		return err
	}
	others, err := list(ctx, s, id)
	if err != nil {
		return err
	}
	for _, o := range others {
		if r.Covers(o) && o != r {
			if err := s.Remove(ctx, ledger.LogPrefix(id)+o.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// capped fails once more than left bytes were read.
type capped struct {
	r    io.Reader
	left int64
	err  error
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, c.err
	}
	return n, err
}

// list returns the segments there are, in order. Some may cover others.
func list(ctx context.Context, s *store.Store, id job.ID) ([]joblog.Range, error) {
	prefix := ledger.LogPrefix(id)
	keys, err := s.List(ctx, prefix, "", maxSegments)
	if err != nil {
		return nil, err
	}
	ranges := make([]joblog.Range, 0, len(keys))
	for _, key := range keys {
		if r, err := joblog.ParseName(key[len(prefix):]); err == nil {
			ranges = append(ranges, r)
		}
	}
	return ranges, nil
}

// uncovered returns the fewest segments that hold everything, in order.
func uncovered(ranges []joblog.Range) []joblog.Range {
	slices.SortFunc(ranges, func(a, b joblog.Range) int {
		if a.First != b.First {
			return compare(a.First, b.First)
		}
		return compare(b.Last, a.Last) // the longer one first
	})
	var out []joblog.Range
	for _, r := range ranges {
		if n := len(out); n == 0 || !out[n-1].Covers(r) {
			out = append(out, r)
		}
	}
	return out
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// State returns where shipping the log of a job has got to, so that another attempt can go on from
// there. Whoever makes an earlier attempt may still merge its log meanwhile.
func State(ctx context.Context, s *store.Store, id job.ID) (joblog.State, error) {
	for range maxRestarts {
		state, err := stateNow(ctx, s, id)
		if !errors.Is(err, job.ErrNotFound) {
			return state, err
		}
	}
	return joblog.State{}, fmt.Errorf("find the end of the log: %w", job.ErrUnavailable)
}

func stateNow(ctx context.Context, s *store.Store, id job.ID) (joblog.State, error) {
	var state joblog.State
	ranges, err := list(ctx, s, id)
	if err != nil {
		return state, err
	}
	for _, r := range uncovered(ranges) {
		h, err := openHead(ctx, s, id, r)
		if errors.Is(err, errTorn) {
			break // who goes on stores another in its place
		}
		if err != nil {
			return state, err
		}
		state.Next, state.Position = r.Last+1, h.End()
	}
	return state, nil
}

// errTorn means that a segment is cut short, since the power failed before it was durable, or is
// none. It counts as not stored.
var errTorn = errors.New("a segment is cut short")

// head is how a segment begins.
type head struct {
	*joblog.Header
	length int64  // of the header
	body   []byte // all that comes behind it, if that is little: most segments are some lines
}

// headSize is how much of a segment is read to know its header.
const headSize = 4 << 10

func openHead(ctx context.Context, s *store.Store, id job.ID, r joblog.Range) (*head, error) {
	in, err := s.Open(ctx, ledger.LogPrefix(id)+r.Name(), 0, -1)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	h, err := readHead(in, in.Size)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, job.ErrInvalid) {
		return nil, fmt.Errorf("%s: %w", r.Name(), errTorn)
	}
	return h, err
}

// readHead reads the beginning of a segment of a size. Where the segment is cut short the error is
// one of io's for that.
func readHead(in io.Reader, size int64) (*head, error) {
	begin := make([]byte, min(size, headSize))
	if _, err := io.ReadFull(in, begin); err != nil {
		return nil, fmt.Errorf("read log segment: %w", err)
	}
	header, length, err := joblog.ReadHeader(io.MultiReader(bytes.NewReader(begin), in))
	if err != nil {
		return nil, err
	}
	h := &head{Header: header, length: length}
	end := length + h.Body()
	if end > size {
		return nil, fmt.Errorf("read log segment: %w", io.ErrUnexpectedEOF)
	}
	if end <= int64(len(begin)) {
		h.body = begin[h.length:end]
	}
	return h, nil
}

// PutOrder stores the order of a log that is complete, as it is in the spool. It is stored before
// the job is over.
func PutOrder(ctx context.Context, s *store.Store, id job.ID, order io.Reader) error {
	_, err := s.Put(ctx, ledger.OrderKey(id), order)
	return err
}

// RemoveWhole removes what an attempt stored as the whole log, although the log did not end with
// it.
func RemoveWhole(ctx context.Context, s *store.Store, id job.ID) error {
	for _, key := range wholeKeys(id) {
		if err := s.Remove(ctx, key); err != nil {
			return err
		}
	}
	return s.Remove(ctx, ledger.OrderKey(id))
}

func wholeKeys(id job.ID) [2]string {
	return [2]string{spool.Stdout: ledger.ResultKey(id, job.StdoutFile),
		spool.Stderr: ledger.ResultKey(id, job.StderrFile)}
}

// Retire removes the segments of a job that is over, unless its whole log was not stored: then they
// are all there is.
func Retire(ctx context.Context, s *store.Store, id job.ID) error {
	_, err := whole(ctx, s, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.RemoveAll(ctx, ledger.LogPrefix(id))
}
