// Package joblog ships the log of a running program in segments. It says what a segment is, and how
// growing files become a bounded number of segments.
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

// Header begins a segment. The bytes follow in the order that its records tell of.
type Header struct {
	Start   spool.Position
	Records []spool.Record
}

// line is a Header as it is stored, as one line of JSON.
type line struct {
	spool.Position        // of the first byte
	Records        []byte `json:"records,omitempty"` // as in a spool, in base64
	Runs           []run  `json:"runs,omitempty"`    // in place of records, from agents that did not know times
}

type run struct {
	Stream string `json:"stream"`
	Bytes  int64  `json:"bytes"`
}

// End is the position behind the last byte.
func (h *Header) End() spool.Position {
	if n := len(h.Records); n > 0 {
		return h.Records[n-1].End
	}
	return h.Start
}

// Body is how many bytes follow the header.
func (h *Header) Body() int64 { return h.End().Total() - h.Start.Total() }

// encode returns the header's line.
func (h *Header) encode() ([]byte, error) {
	l := line{Position: h.Start, Records: make([]byte, 0, len(h.Records)*spool.RecordSize)}
	for _, r := range h.Records {
		l.Records = append(l.Records, r.Encode()...)
	}
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode log segment: %w", err)
	}
	return append(text, '\n'), nil
}

// maxHeader bounds a header: a segment has at most maxMergedRecords, each of which takes 32 bytes
// of base64.
const maxHeader = 4 << 20

// ReadHeader reads a header and returns it with the number of bytes it took. What it returns can be
// reckoned with: no position is negative or comes before an earlier one, and the bytes are no more
// than a segment can have. The error is of kind job.ErrInvalid when what was read is no header.
func ReadHeader(r io.Reader) (*Header, int64, error) {
	text, err := bufio.NewReader(io.LimitReader(r, maxHeader)).ReadBytes('\n')
	if err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w", err)
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w: %w", job.ErrInvalid, err)
	}
	h, err := l.header()
	if err != nil {
		return nil, 0, fmt.Errorf("read log segment: %w: %w", job.ErrInvalid, err)
	}
	return h, int64(len(text)), nil
}

func (l *line) header() (*Header, error) {
	for _, at := range []int64{l.Stdout, l.Stderr} {
		if at < 0 || at > spool.MaxPosition {
			return nil, errors.New("malformed position")
		}
	}
	if len(l.Records)%spool.RecordSize != 0 {
		return nil, errors.New("malformed records")
	}
	h := &Header{Start: l.Position}
	for b := l.Records; len(b) > 0; b = b[spool.RecordSize:] {
		if err := h.add(spool.Decode(b)); err != nil {
			return nil, err
		}
	}
	for _, run := range l.Runs {
		if err := h.addRun(run); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *Header) add(r spool.Record) error {
	end := h.End()
	if r.End.Stdout < end.Stdout || r.End.Stderr < end.Stderr || r.End.Total()-h.Start.Total() > maxMerged {
		return errors.New("malformed record")
	}
	h.Records = append(h.Records, r)
	return nil
}

func (h *Header) addRun(r run) error {
	s, err := spool.ParseStream(r.Stream)
	if err != nil || r.Bytes < 0 || r.Bytes > maxMerged {
		return errors.New("malformed run")
	}
	end := h.End()
	*end.Of(s) += r.Bytes
	return h.add(spool.Record{End: end})
}

// Range is the numbers that a segment covers: one for a segment as it was cut, and several for one
// that was merged from those with these numbers.
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
