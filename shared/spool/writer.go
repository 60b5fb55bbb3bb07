package spool

import (
	"fmt"
	"os"
	"time"

	"go-job-orchestrator/shared/mask"
)

// recordEvery is how long a record may stay open while bytes of the same stream keep coming:
// readers see no byte before its record, and times are told as finely as this.
const recordEvery = 100 * time.Millisecond

// Writer appends to a spool. It is not safe for concurrent use.
type Writer struct {
	files       Files
	limit       int64
	last        Record    // tells of all that was written, once it is written itself
	open        bool      // it is not
	since       time.Time // when an open record began
	by          Stream    // of which stream its first bytes are
	records     int64     // how many records there are
	exact       int64     // up to how many of them each change of streams gets one
	unwritten   []byte    // records that could not be written yet
	atLineStart [2]bool
	masks       [2]*mask.Stream // nil: nothing is masked
	heldSince   [2]time.Time    // when the last bytes were written of which a mask holds some back
	cut         bool            // the limit was reached
	lost        bool            // bytes were not kept since the last that were
}

// NewWriter returns a Writer to a spool that nobody else writes to. It keeps at most limit bytes of
// both streams together, and says in the log that there were more; 0 is no limit.
func NewWriter(files Files, limit int64) (*Writer, error) {
	last, err := files.repair()
	if err != nil {
		return nil, err
	}
	info, err := files.Order.Stat()
	if err != nil {
		return nil, fmt.Errorf("size of log: %w", err)
	}
	w := &Writer{files: files, limit: limit, last: last, records: info.Size() / RecordSize, exact: exactRecords,
		atLineStart: [2]bool{true, true}}
	w.cut = limit > 0 && w.kept() >= limit // an earlier attempt has said so
	return w, nil
}

// maskPatience is how long the end of what was written is held back that may be the beginning of a
// secret.
const maskPatience = 100 * time.Millisecond

// Mask has secrets replaced in what is written from now on.
func (w *Writer) Mask(m *mask.Mask) {
	if m == nil {
		return
	}
	for s := range w.masks {
		w.masks[s] = m.Stream()
	}
}

// kept is how many bytes of both streams there are.
func (w *Writer) kept() int64 { return w.last.End.Total() }

// Write appends what was read from a stream. What cannot be kept is given up and the log says so: a
// program must not stop because its log has no room.
func (w *Writer) Write(s Stream, data []byte) {
	if m := w.masks[s]; m != nil {
		w.release(s.Other(), maskPatience) // Settle may not be called while this stream has data
		data = m.Write(data)
		w.heldSince[s] = time.Now()
	}
	w.write(s, data)
}

// release writes what was held back of a stream for at least so long. If that is not long enough yet
// it returns how long it may still wait.
func (w *Writer) release(s Stream, patience time.Duration) (after time.Duration) {
	m := w.masks[s]
	if m == nil || !m.Held() {
		return 0
	}
	if after = patience - time.Since(w.heldSince[s]); after > 0 {
		return after
	}
	w.write(s, m.Flush())
	return 0
}

func (w *Writer) write(s Stream, data []byte) {
	if w.cut || len(data) == 0 {
		return
	}
	keep := data
	if w.limit > 0 && int64(len(data)) > w.limit-w.kept() {
		keep = data[:w.limit-w.kept()]
		w.cut = true
	}
	if w.lost {
		w.notice(s, "some of the log is missing here: there was no room for it on the disk")
	}
	w.keep(s, keep)
	if w.cut {
		w.notice(s, fmt.Sprintf("the log ends here: it has %d bytes (MAX_LOG_BYTES); the program goes on, what else it "+
			"writes is not kept", w.limit))
		w.Sync()
	}
}

// notice appends a line of our own.
func (w *Writer) notice(s Stream, text string) {
	begin := "\n["
	if w.atLineStart[s] {
		begin = "["
	}
	w.keep(s, []byte(begin+text+"]\n"))
}

// keep appends as much as there is room for.
func (w *Writer) keep(s Stream, data []byte) {
	n, err := w.files.Of(s).Write(data)
	w.lost = err != nil
	if n > 0 {
		w.atLineStart[s] = data[n-1] == '\n'
		w.record(s, int64(n))
	}
}

// exactRecords is how many records an order has before it becomes a coarser one: a program that
// writes to both streams in turn must not fill the disk with them. From then on there is one each
// recordEvery, and that time doubles with each further coarserAfter of them, so that even a program
// that runs for years has no more than MaxRecords.
const (
	exactRecords = 1 << 20
	coarserAfter = 256 << 10
)

// MaxRecords is the most records that an order has.
const MaxRecords = 4 << 20

func (w *Writer) record(s Stream, n int64) {
	if w.open && (w.due() <= 0 || w.by != s && w.records < w.exact) {
		w.Sync()
	}
	if !w.open {
		w.open, w.since, w.by, w.last.At = true, time.Now(), s, nowAfter(w.last.At)
	}
	*w.last.End.Of(s) += n
}

// due returns how long an open record may stay so.
func (w *Writer) due() time.Duration {
	every := recordEvery << max(min((w.records-w.exact)/coarserAfter, 20), 0)
	return every - time.Since(w.since)
}

// Settle lets readers see what was written, if that may have a record by now. Otherwise it returns
// after how long it may; it is to be called when nothing comes.
func (w *Writer) Settle() (after time.Duration) {
	after = sooner(w.release(Stdout, maskPatience), w.release(Stderr, maskPatience))
	if due := w.due(); w.open && w.records >= w.exact && due > 0 {
		return sooner(after, due)
	}
	w.Sync()
	return after
}

// sooner returns the shorter of two times, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// Flush lets readers see all that was written, also what was held back. It is for when nothing comes
// any more.
func (w *Writer) Flush() {
	w.release(Stdout, 0)
	w.release(Stderr, 0)
	w.Sync()
}

// maxUnwritten bounds the records that wait for room on the disk. In place of more than that there is
// one.
const maxUnwritten = 64 * RecordSize

// Sync lets readers see all that was written. It does not flush to the disk. Records for which
// there is no room are written with the next ones.
func (w *Writer) Sync() {
	if w.open {
		if len(w.unwritten) >= maxUnwritten {
			w.unwritten = w.unwritten[:0] // the next one tells of the same bytes
		}
		w.unwritten = append(w.unwritten, w.last.Encode()...)
		w.open = false
	}
	if len(w.unwritten) == 0 || appendWhole(w.files.Order, w.unwritten) != nil {
		return
	}
	w.records += int64(len(w.unwritten) / RecordSize)
	w.unwritten = w.unwritten[:0]
}

// appendWhole appends all of data or nothing.
func appendWhole(f *os.File, data []byte) error {
	n, err := f.Write(data)
	if err != nil && n > 0 {
		if info, statErr := f.Stat(); statErr == nil {
			_ = f.Truncate(info.Size() - int64(n)) // else Repair finds it
		}
	}
	return err
}
