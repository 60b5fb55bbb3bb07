// Package spool keeps what a program writes to its standard streams. The program has pipes; what
// comes out of them is written to files that the program has no handle of, so it can neither change
// nor remove what it has written before.
package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Files are a spool: a file for the bytes of each stream, and one for the order in which they came.
// Each must have been opened for reading and appending.
type Files struct{ Stdout, Stderr, Order *os.File }

// The names of the files in their folder.
const (
	StdoutName = "stdout.log"
	StderrName = "stderr.log"
	OrderName  = "order"
)

// Open opens the spool in a folder, and makes the files that are missing. A link or a FIFO in place
// of a file is an error: in a pod the program could have put it there.
func Open(dir *os.Root) (Files, error) {
	var f Files
	var err error
	for name, into := range map[string]**os.File{StdoutName: &f.Stdout, StderrName: &f.Stderr, OrderName: &f.Order} {
		opened, openErr := openFile(dir, name)
		err = errors.Join(err, openErr)
		*into = opened
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return Files{}, err
	}
	return f, nil
}

func openFile(dir *os.Root, name string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_APPEND | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	f, err := dir.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: %w", name, fs.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// Close closes the files that are open.
func (f Files) Close() error {
	var errs []error
	for _, file := range []*os.File{f.Stdout, f.Stderr, f.Order} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// Of returns the file with the bytes of a stream.
func (f Files) Of(s Stream) *os.File {
	if s == Stderr {
		return f.Stderr
	}
	return f.Stdout
}

// sizes returns how many bytes each stream has.
func (f Files) sizes() (sizes Position, err error) {
	for _, s := range []Stream{Stdout, Stderr} {
		info, err := f.Of(s).Stat()
		if err != nil {
			return sizes, fmt.Errorf("size of log: %w", err)
		}
		*sizes.Of(s) = info.Size()
	}
	return sizes, nil
}

// Records returns the order of a spool to which nobody writes any more, as it is stored. It has
// nothing if the program has written nothing.
func (f Files) Records() (*io.SectionReader, error) {
	last, err := f.repair()
	if err != nil {
		return nil, err
	}
	info, err := f.Order.Stat()
	if err != nil {
		return nil, fmt.Errorf("size of log: %w", err)
	}
	size := info.Size()
	if last.End == (Position{}) {
		size = 0
	}
	return io.NewSectionReader(f.Order, 0, size), nil
}

// Truncate empties the spool.
func (f Files) Truncate() error {
	var errs []error
	for _, file := range []*os.File{f.Stdout, f.Stderr, f.Order} {
		if err := file.Truncate(0); err != nil {
			errs = append(errs, fmt.Errorf("empty log: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Holds reports whether the spool has, and knows the order of, at least what comes before a
// position.
func (f Files) Holds(p Position) (bool, error) {
	sizes, err := f.sizes()
	if err != nil {
		return false, err
	}
	last, _, err := f.scan(sizes)
	return p.within(last.End), err
}

// Begin marks where the log of an attempt begins. What is written from then on belongs to it.
func (f Files) Begin(attempt int) error {
	last, err := f.repair()
	if err != nil {
		return err
	}
	mark := Record{At: nowAfter(last.At), Attempt: attempt, End: last.End}
	if err := appendWhole(f.Order, mark.Encode()); err != nil {
		return fmt.Errorf("mark the attempt in the log: %w", err)
	}
	return nil
}

// nowAfter returns the time by the wall clock, but none before that of the last record: times
// ascend, so that one can be looked up.
func nowAfter(last time.Time) time.Time {
	if now := time.Now().Round(0); now.After(last) { // without the monotonic clock, which no record has
		return now
	}
	return last
}

// Repair makes the order tell of exactly the bytes that the streams have. After a power failure it
// can tell of more than reached the disk; bytes that it does not know come last.
func (f Files) Repair() error {
	_, err := f.repair()
	return err
}

// repair returns the last record.
func (f Files) repair() (Record, error) {
	sizes, err := f.sizes()
	if err != nil {
		return Record{}, err
	}
	last, good, err := f.scan(sizes)
	if err != nil {
		return Record{}, err
	}
	if err := f.Order.Truncate(good); err != nil {
		return Record{}, fmt.Errorf("repair order of log: %w", err)
	}
	if last.End == sizes {
		return last, nil
	}
	last.At, last.End = nowAfter(last.At), sizes
	if _, err := f.Order.Write(last.Encode()); err != nil {
		return Record{}, fmt.Errorf("repair order of log: %w", err)
	}
	return last, nil
}

// scan returns the last record before the first that cannot be one, and where that one begins.
func (f Files) scan(sizes Position) (last Record, good int64, err error) {
	in := io.NewSectionReader(f.Order, 0, 1<<62)
	buffer := make([]byte, 4096*RecordSize)
	for {
		n, err := io.ReadFull(in, buffer)
		for b := buffer[:n]; len(b) >= RecordSize; b = b[RecordSize:] {
			r := Decode(b)
			if !last.before(r) || !r.End.within(sizes) {
				return last, good, nil
			}
			last = r
			good += RecordSize
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return last, good, nil
		case err != nil:
			return last, 0, fmt.Errorf("read order of log: %w", err)
		}
	}
}
