package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Stream is one of the two streams that a program writes.
type Stream uint8

// The streams.
const (
	Stdout Stream = 0
	Stderr Stream = 1
)

// Other returns the other stream.
func (s Stream) Other() Stream { return 1 - s }

// String returns stdout or stderr.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

var errStream = errors.New("must be stdout or stderr")

// ParseStream is the reverse of String.
func ParseStream(name string) (Stream, error) {
	for _, s := range []Stream{Stdout, Stderr} {
		if name == s.String() {
			return s, nil
		}
	}
	return 0, fmt.Errorf("stream %.20q: %w", name, errStream)
}

// Position is how many bytes of each stream come before a place in the log.
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

// Total is how many bytes of the merged log come before the place. One number is enough to find it
// again, since the order of the bytes never changes.
func (p Position) Total() int64 { return p.Stdout + p.Stderr }

// within reports whether no part of p is more than that of q.
func (p Position) within(q Position) bool { return p.Stdout <= q.Stdout && p.Stderr <= q.Stderr }

// Record says how far the log had got when something was read. What came since the record before
// belongs to it: normally bytes of one stream. Of both it is where their order was given up, and
// then stdout comes first.
type Record struct {
	At      time.Time // when the first of the bytes was read; zero if that is not known
	Attempt int       // of the job, from 1; 0 if that is not known
	End     Position  // behind the last byte
}

// before reports whether next can be the record after r.
func (r Record) before(next Record) bool {
	return r.End.within(next.End) && !next.At.Before(r.At) && next.Attempt >= r.Attempt && next != Record{}
}

// RecordSize is the length of a record in the file of the order, which is the same in the bucket.
// It is three big-endian numbers of 8 bytes: microseconds since 1970; the attempt in the upper 16
// bits and the bytes of stdout in the lower 48; the bytes of stderr. As they tell where each record
// ends, and not how long it is, a place can be looked up without reading those before.
const RecordSize = 24

const (
	sizeBits = 48
	// MaxPosition is the most bytes of a stream that a record can tell of.
	MaxPosition = 1<<sizeBits - 1
)

// Encode returns the record as it is stored.
func (r Record) Encode() []byte {
	b := make([]byte, RecordSize)
	if !r.At.IsZero() {
		binary.BigEndian.PutUint64(b, uint64(r.At.UnixMicro()))
	}
	binary.BigEndian.PutUint64(b[8:], uint64(r.Attempt)<<sizeBits|uint64(r.End.Stdout)) //nolint:gosec // not negative
	binary.BigEndian.PutUint64(b[16:], uint64(r.End.Stderr))                            //nolint:gosec // not negative
	return b
}

// Decode reads a record from the RecordSize bytes at the beginning of b.
func Decode(b []byte) Record {
	var r Record
	if at := binary.BigEndian.Uint64(b); at != 0 {
		r.At = time.UnixMicro(int64(at)) //nolint:gosec // the sign is kept
	}
	second := binary.BigEndian.Uint64(b[8:])
	r.Attempt = int(second >> sizeBits)
	r.End.Stdout = int64(second & MaxPosition)
	r.End.Stderr = int64(binary.BigEndian.Uint64(b[16:RecordSize]) & MaxPosition)
	return r
}
