package spool

import (
	"io"
	"sync"
)

// Streams returns what appends to the streams, for a system where programs have no Pipes: what they
// write is copied, in an order that is right only as far as the copying is. Both may be used at the
// same time.
func (w *Writer) Streams() (stdout, stderr io.Writer) {
	var one sync.Mutex
	return &stream{w, Stdout, &one}, &stream{w, Stderr, &one}
}

type stream struct {
	*Writer
	stream Stream
	one    *sync.Mutex
}

func (s *stream) Write(p []byte) (int, error) {
	s.one.Lock()
	defer s.one.Unlock()
	s.Writer.Write(s.stream, p)
	s.Sync()
	return len(p), nil
}
