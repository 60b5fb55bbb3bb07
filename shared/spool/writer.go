package spool

import (
	"fmt"
	"os"
	"time"
)

// recordEvery is how long a record may stay open while bytes of the same stream keep coming: readers see no byte before its
// record, and times are told as finely as this.
const recordEvery = 100 * time.Millisecond

// Writer appends to a spool. It is not safe for concurrent use.
type Writer struct {
	files Files
	limit int64
	kept  int64    // bytes of both streams
	open  Record   // grows
	owed  []Record // could not be written yet
	fresh [2]bool
	cut   bool // the limit was reached
	lost  bool // bytes were not kept since the last that were
}

// NewWriter returns a Writer to a spool that nobody else writes to. It keeps at most limit bytes of both streams together, and says
// in the log that there were more; 0 is no limit.
func NewWriter(files Files, limit int64) (*Writer, error) {
	if err := files.Repair(); err != nil {
		return nil, err
	}
	sizes, err := files.sizes()
	if err != nil {
		return nil, err
	}
	w := &Writer{files: files, limit: limit, kept: sizes[Stdout] + sizes[Stderr], fresh: [2]bool{true, true}}
	w.cut = limit > 0 && w.kept >= limit // an earlier attempt has said so
	return w, nil
}

// Write appends what was read from a stream. What cannot be kept is given up and the log says so: a program must not stop
// because its log has no room.
func (w *Writer) Write(s Stream, data []byte) {
	if w.cut || len(data) == 0 {
		return
	}
	keep := data
	if w.limit > 0 && int64(len(data)) > w.limit-w.kept {
		keep = data[:w.limit-w.kept]
		w.cut = true
	}
	if w.lost {
		w.notice(s, "some of the log is missing here: there was no room for it on the disk")
	}
	w.keep(s, keep)
	if w.cut {
		w.notice(s, fmt.Sprintf("the log ends here: it has %d bytes (MAX_LOG_BYTES); the program goes on, what else it writes is not kept", w.limit))
		w.Sync()
	}
}

// notice appends a line of our own.
func (w *Writer) notice(s Stream, text string) {
	begin := "\n["
	if w.fresh[s] {
		begin = "["
	}
	w.keep(s, []byte(begin+text+"]\n"))
}

// keep appends as much as there is room for.
func (w *Writer) keep(s Stream, data []byte) {
	n, err := w.files.Of(s).Write(data)
	w.lost = err != nil
	if n > 0 {
		w.kept += int64(n)
		w.fresh[s] = data[n-1] == '\n'
		w.record(s, int64(n))
	}
}

func (w *Writer) record(s Stream, n int64) {
	now := time.Now()
	if w.open.Bytes > 0 && (w.open.Stream != s || now.Sub(w.open.At) >= recordEvery) {
		w.Sync()
	}
	if w.open.Bytes == 0 {
		w.open = Record{At: now, Stream: s}
	}
	w.open.Bytes += n
}

// maxOwed bounds how many records wait for room on the disk.
const maxOwed = 64

// Sync lets readers see all that was written. It does not flush to the disk. Records for which there is no room are written
// with the next ones.
func (w *Writer) Sync() {
	if w.open.Bytes > 0 {
		w.owed = append(w.owed, w.open)
		w.open = Record{}
	}
	for len(w.owed) > 0 {
		if err := appendWhole(w.files.Order, w.owed[0].encode()); err != nil {
			break
		}
		w.owed = w.owed[1:]
	}
	if len(w.owed) > maxOwed {
		w.owed = join(w.owed)
	}
}

// join returns at most two records that tell of the same bytes, in a coarser order.
func join(records []Record) []Record {
	first, second := records[0], Record{At: records[0].At, Stream: records[0].Stream.Other()}
	for _, r := range records[1:] {
		if r.Stream == first.Stream {
			first.Bytes += r.Bytes
		} else {
			second.Bytes += r.Bytes
		}
	}
	if second.Bytes == 0 {
		return []Record{first}
	}
	return []Record{first, second}
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
