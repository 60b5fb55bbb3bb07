package spool

import (
	"errors"
	"io"
)

// Reader returns both streams as one, in the order in which they came. It ends where the order
// ends.
func (f Files) Reader() io.Reader { return &reader{files: f} }

type reader struct {
	files Files
	order int64 // offset of the next record
	at    Position
	end   Position
}

func (r *reader) Read(p []byte) (int, error) {
	for r.at == r.end {
		var b [RecordSize]byte
		n, err := r.files.Order.ReadAt(b[:], r.order)
		if n < RecordSize {
			if err == nil || errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, err
		}
		r.order += RecordSize
		r.end = Decode(b[:]).End
	}
	stream := Stdout
	if r.at.Stdout == r.end.Stdout {
		stream = Stderr
	}
	at, end := r.at.Of(stream), *r.end.Of(stream)
	n, err := r.files.Of(stream).ReadAt(p[:min(int64(len(p)), end-*at)], *at)
	*at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}
