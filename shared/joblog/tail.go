package joblog

import (
	"errors"
	"fmt"
	"io"

	"go-job-orchestrator/shared/spool"
)

// loadRecords is how many records of the order are read at a time.
const loadRecords = 1024

// tail reads the order of a growing spool.
type tail struct {
	files   spool.Files
	at      int64    // of the next record, in the file of the order
	skip    Position // how many bytes that records will tell of are shipped already
	told    int64    // how many bytes all records told of
	pending []Run    // are to be shipped
	buffer  [loadRecords * spool.RecordSize]byte
}

// load adds runs that are new, a bounded number of them at a time.
func (t *tail) load() error {
	if len(t.pending) >= maxRuns {
		return nil
	}
	n, err := t.files.Order.ReadAt(t.buffer[:], t.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read order of log: %w", err)
	}
	for b := t.buffer[:n]; len(b) >= spool.RecordSize; b = b[spool.RecordSize:] {
		t.at += spool.RecordSize
		r := spool.Decode(b)
		if t.told += r.Bytes; t.told > maxPosition { // no record of ours: a program has written it
			t.told = maxPosition
			continue
		}
		t.add(Run{streamOf(r.Stream), r.Bytes})
	}
	return nil
}

func streamOf(s spool.Stream) Stream {
	if s == spool.Stderr {
		return Stderr
	}
	return Stdout
}

func (t *tail) add(r Run) {
	skip := t.skip.Of(r.Stream)
	shipped := min(*skip, r.Bytes)
	*skip -= shipped
	if r.Bytes -= shipped; r.Bytes == 0 {
		return
	}
	if n := len(t.pending); n > 0 && t.pending[n-1].Stream == r.Stream {
		t.pending[n-1].Bytes += r.Bytes
		return
	}
	t.pending = append(t.pending, r)
}

// rest adds what the files have after a position and all that is pending: what was written just before a crash has no record.
func (t *tail) rest(at Position) error {
	for _, r := range t.pending {
		*at.Of(r.Stream) += r.Bytes
	}
	t.skip = Position{}
	for _, s := range []spool.Stream{spool.Stdout, spool.Stderr} {
		info, err := t.files.Of(s).Stat()
		if err != nil {
			return fmt.Errorf("ship log: %w", err)
		}
		t.add(Run{streamOf(s), max(info.Size()-*at.Of(streamOf(s)), 0)})
	}
	return nil
}

// next returns what the next piece holds, and takes it from what is pending with took.
func (t *tail) next() []Run {
	var runs []Run
	for room := int64(maxPiece); room > 0 && len(runs) < min(len(t.pending), maxPieceRuns); {
		r := t.pending[len(runs)]
		r.Bytes = min(r.Bytes, room)
		room -= r.Bytes
		runs = append(runs, r)
	}
	return runs
}

// took takes runs that next returned from what is pending.
func (t *tail) took(runs []Run) {
	for i, r := range runs {
		if t.pending[i].Bytes -= r.Bytes; t.pending[i].Bytes > 0 {
			t.pending = t.pending[i:]
			return
		}
	}
	t.pending = append(t.pending[:0], t.pending[len(runs):]...)
}
