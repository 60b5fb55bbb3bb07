// Package joblog ships the log of a running program in pieces: what a piece is, and how growing files become a
// bounded number of them.
package joblog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// Stream is one of the two streams that a program writes.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// InSpool returns the stream as package spool calls it.
func (s Stream) InSpool() spool.Stream {
	if s == Stderr {
		return spool.Stderr
	}
	return spool.Stdout
}

// Position is how many bytes of each stream came before a place in the log.
type Position struct {
	Stdout int64 `json:"stdout"`
	Stderr int64 `json:"stderr"`
}

// Of returns the part of the stream s.
func (p *Position) Of(s Stream) *int64 {
	if s == Stderr {
		return &p.Stderr
	}
	return &p.Stdout
}

// Run is bytes that one stream got while the other got none.
type Run struct {
	Stream Stream `json:"stream"`
	Bytes  int64  `json:"bytes"`
}

// Header begins a segment, as one line of JSON. The bytes of its runs follow, in their order.
type Header struct {
	Position       // of the first byte
	Runs     []Run `json:"runs"`
}

// End is the position behind the last byte.
func (h *Header) End() Position {
	end := h.Position
	for _, r := range h.Runs {
		*end.Of(r.Stream) += r.Bytes
	}
	return end
}

// Body is how many bytes follow the header.
func (h *Header) Body() int64 {
	var n int64
	for _, r := range h.Runs {
		n += r.Bytes
	}
	return n
}

// encode returns the header's line.
func (h *Header) encode() ([]byte, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode log segment: %w", err)
	}
	return append(line, '\n'), nil
}

// maxHeader bounds a header: a segment of the largest size has at most as many runs as an Order.
const maxHeader = 4 << 20

// maxPosition bounds how far into a log a segment can lie, so that no sum of such numbers overflows.
const maxPosition = 1 << 60

// ReadHeader reads a header and returns it with the number of bytes it took. What it returns can be reckoned with: no number is
// negative, and the bytes of the runs are no more than a segment can have.
func ReadHeader(r io.Reader) (*Header, int64, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxHeader)).ReadBytes('\n')
	if err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w", err)
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w", err)
	}
	if err := h.check(); err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w", err)
	}
	return &h, int64(len(line)), nil
}

func (h *Header) check() error {
	for _, at := range []int64{h.Stdout, h.Stderr} {
		if at < 0 || at > maxPosition {
			return errors.New("malformed position")
		}
	}
	left := int64(maxMerged)
	for _, run := range h.Runs {
		if run.Stream != Stdout && run.Stream != Stderr || run.Bytes < 0 || run.Bytes > left {
			return errors.New("malformed run")
		}
		left -= run.Bytes
	}
	return nil
}

// Range is the numbers of the first and the last piece that a segment holds.
type Range struct{ First, Last uint64 }

const digits = 12

// Name returns the segment's name, which sorts by number.
func (r Range) Name() string { return fmt.Sprintf("%0*x-%0*x", digits, r.First, digits, r.Last) }

// Covers reports whether all of o is in r.
func (r Range) Covers(o Range) bool { return r.First <= o.First && o.Last <= r.Last }

// ParseName is the reverse of Name.
func ParseName(name string) (Range, error) {
	first, last, _ := strings.Cut(name, "-")
	f, err1 := parseNumber(first)
	l, err2 := parseNumber(last)
	if err1 != nil || err2 != nil || f > l || len(name) != 2*digits+1 {
		return Range{}, fmt.Errorf("log segment %.40q: %w", name, job.ErrInvalid)
	}
	return Range{f, l}, nil
}

func parseNumber(s string) (uint64, error) {
	if len(s) != digits || strings.ToLower(s) != s || strings.ContainsAny(s, "+_x") {
		return 0, job.ErrInvalid
	}
	return strconv.ParseUint(s, 16, 64)
}
