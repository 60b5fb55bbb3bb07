// Package spool keeps what a program writes to its standard streams. The program has pipes; what comes out of them is
// written to files that the program has no handle of, so it can neither change nor remove what it has written before.
package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
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

// Files are a spool: a file for the bytes of each stream, and one for the order in which they came. Each must have been
// opened for reading and appending.
type Files struct{ Stdout, Stderr, Order *os.File }

// The names of the files in their folder.
const (
	StdoutName = "stdout.log"
	StderrName = "stderr.log"
	OrderName  = "order"
)

// Open opens the spool in a folder, and makes the files that are missing. A link or a FIFO in place of a file is an error:
// in a pod the program could have put it there.
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
func (f Files) sizes() (sizes [2]int64, err error) {
	for _, s := range []Stream{Stdout, Stderr} {
		info, err := f.Of(s).Stat()
		if err != nil {
			return sizes, fmt.Errorf("size of log: %w", err)
		}
		sizes[s] = info.Size()
	}
	return sizes, nil
}

// Record is bytes that one stream got while the other got none, and when the first of them was read.
type Record struct {
	At     time.Time
	Stream Stream
	Bytes  int64
}

// RecordSize is the length of a record in the file of the order: microseconds since 1970 in 8 bytes, the stream in one,
// the number of bytes in 7, all big-endian.
const RecordSize = 16

const streamShift = 56

func (r Record) encode() []byte {
	var b [RecordSize]byte
	binary.BigEndian.PutUint64(b[:8], uint64(r.At.UnixMicro()))                      //nolint:gosec // the sign is kept
	binary.BigEndian.PutUint64(b[8:], uint64(r.Stream)<<streamShift|uint64(r.Bytes)) //nolint:gosec // not negative
	return b[:]
}

// Decode reads a record from the RecordSize bytes at the beginning of b.
func Decode(b []byte) Record {
	second := binary.BigEndian.Uint64(b[8:RecordSize])
	return Record{
		At:     time.UnixMicro(int64(binary.BigEndian.Uint64(b[:8]))), //nolint:gosec // the sign is kept
		Stream: Stream(second>>streamShift) & 1,
		Bytes:  int64(second & (1<<streamShift - 1)), //nolint:gosec // 56 bits fit
	}
}

// Repair makes the order tell of exactly the bytes that the streams have. After a power failure it can tell of more than
// reached the disk; bytes that were appended by others it does not know, and these come last.
func (f Files) Repair() error {
	left, err := f.sizes()
	if err != nil {
		return err
	}
	good, err := f.scan(&left)
	if err != nil {
		return err
	}
	if err := f.Order.Truncate(good); err != nil {
		return fmt.Errorf("repair order of log: %w", err)
	}
	now := time.Now()
	for _, s := range []Stream{Stdout, Stderr} {
		if left[s] == 0 {
			continue
		}
		if _, err := f.Order.Write(Record{now, s, left[s]}.encode()); err != nil {
			return fmt.Errorf("repair order of log: %w", err)
		}
	}
	return nil
}

// scan takes from left what records tell of, up to the first that tells of more, and returns where that one begins.
func (f Files) scan(left *[2]int64) (good int64, err error) {
	in := io.NewSectionReader(f.Order, 0, 1<<62)
	buffer := make([]byte, 4096*RecordSize)
	for {
		n, err := io.ReadFull(in, buffer)
		for b := buffer[:n]; len(b) >= RecordSize; b = b[RecordSize:] {
			r := Decode(b)
			if r.Bytes > left[r.Stream] {
				return good, nil
			}
			left[r.Stream] -= r.Bytes
			good += RecordSize
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return good, nil
		case err != nil:
			return 0, fmt.Errorf("read order of log: %w", err)
		}
	}
}
