package spool

import (
	"errors"
	"io"
)

// Reader returns both streams as one, in the order in which they came. It ends where the order ends.
func (f Files) Reader() io.Reader { return &reader{files: f} }

type reader struct {
	files Files
	order int64 // offset of the next record
	at    [2]int64
	left  Record // of which Bytes are to be read
}

func (r *reader) Read(p []byte) (int, error) {
	for r.left.Bytes == 0 {
		var b [RecordSize]byte
		n, err := r.files.Order.ReadAt(b[:], r.order)
		if n < RecordSize {
			if err == nil || errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, err
		}
		r.order += RecordSize
		r.left = Decode(b[:])
	}
	n, err := r.files.Of(r.left.Stream).ReadAt(p[:min(int64(len(p)), r.left.Bytes)], r.at[r.left.Stream])
	r.at[r.left.Stream] += int64(n)
	r.left.Bytes -= int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}
