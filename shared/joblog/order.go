package joblog

import (
	"errors"
	"fmt"
	"io"

	"go-job-orchestrator/shared/spool"
)

// loadRecords is how many records of the order are read at a time.
const loadRecords = 1024

// orderReader reads the order of a growing spool.
type orderReader struct {
	files   spool.Files
	offset  int64          // of the next record, in the file of the order
	at      spool.Position // behind what is shipped
	pending []spool.Record // are to be shipped
	buffer  [loadRecords * spool.RecordSize]byte
}

// load adds records that are new, a bounded number of them at a time.
func (t *orderReader) load() error {
	if len(t.pending) >= loadRecords {
		return nil
	}
	n, err := t.files.Order.ReadAt(t.buffer[:], t.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read order of log: %w", err)
	}
	for b := t.buffer[:n]; len(b) >= spool.RecordSize; b = b[spool.RecordSize:] {
		t.offset += spool.RecordSize
		t.add(spool.Decode(b))
	}
	return nil
}

// add notes a record, unless all that it tells of is shipped or noted.
func (t *orderReader) add(r spool.Record) {
	end := t.at
	if n := len(t.pending); n > 0 {
		end = t.pending[n-1].End
	}
	r.End.Stdout, r.End.Stderr = max(r.End.Stdout, end.Stdout), max(r.End.Stderr, end.Stderr)
	if r.End != end {
		t.pending = append(t.pending, r)
	}
}

// next returns the records of the next segment. The last one is cut off where there is no more
// room.
func (t *orderReader) next() []spool.Record {
	var records []spool.Record
	begin := t.at.Total()
	for _, r := range t.pending[:min(len(t.pending), maxUnmergedRecords)] {
		over := r.End.Total() - begin - maxUnmerged
		if over <= 0 {
			records = append(records, r)
			continue
		}
		// Its stdout comes first, so the end is what is missing.
		before := t.at
		if n := len(records); n > 0 {
			before = records[n-1].End
		}
		cut := min(over, r.End.Stderr-before.Stderr)
		r.End.Stderr -= cut
		r.End.Stdout -= over - cut
		if r.End != before {
			records = append(records, r)
		}
		break
	}
	return records
}

// shipped takes what lies before a position from what is pending.
func (t *orderReader) shipped(end spool.Position) {
	t.at = end
	done := 0
	for done < len(t.pending) && t.pending[done].End.Total() <= end.Total() {
		done++
	}
	t.pending = append(t.pending[:0], t.pending[done:]...)
}

var errShrunk = errors.New("the log became shorter")

// read fills data with what a stream has from an offset on.
func (t *orderReader) read(s spool.Stream, data []byte, offset int64) error {
	if len(data) == 0 {
		return nil
	}
	_, err := t.files.Of(s).ReadAt(data, offset)
	if errors.Is(err, io.EOF) {
		return errShrunk
	}
	if err != nil {
		return fmt.Errorf("ship log: %w", err)
	}
	return nil
}
