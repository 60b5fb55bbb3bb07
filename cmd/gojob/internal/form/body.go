package form

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// segment is a piece of a body: text of the form, or the content of a file.
type segment struct {
	text   bool
	open   func() (io.ReadCloser, error)
	length func() (int64, error) // -1: not known
	size   int64                 // of a file, which is sent so far and no further; -1: to its end
	name   string                // of a file, for messages
}

// body reads segments one after the other.
type body struct {
	ctx context.Context //nolint:containedctx // lives as long as one body

	mu       sync.Mutex // net/http may close a body while it reads it
	closed   bool
	segments []segment
	current  io.ReadCloser // the first of segments; nil: not opened yet
	left     int64         // bytes of current; negative: to its end
}

// Read fills p, if there is as much, since each call may become a packet of the network.
func (b *body) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, fs.ErrClosed
	}
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	for n < len(p) {
		k, err := b.read(p[n:])
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (b *body) read(p []byte) (int, error) {
	if len(b.segments) == 0 {
		return 0, io.EOF
	}
	s := &b.segments[0]
	if b.current == nil {
		content, err := s.open()
		if err != nil {
			return 0, b.local(err)
		}
		b.current, b.left = content, s.size
	}
	if b.left == 0 {
		return 0, b.advance()
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.current.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	switch {
	case errors.Is(err, io.EOF) && b.left > 0:
		return n, b.local(fmt.Errorf("%s became shorter while it was sent: it had %d bytes and has %d", s.name, s.size,
			s.size-b.left))
	case errors.Is(err, io.EOF):
		return n, b.advance()
	case err != nil:
		return n, b.local(err)
	}
	return n, nil
}

// local marks an error of this machine, so that it can be told from one of the line.
func (b *body) local(err error) error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	return &LocalError{err}
}

// advance goes to the next segment.
func (b *body) advance() error {
	err := b.current.Close()
	b.current, b.segments = nil, b.segments[1:]
	if err != nil {
		return b.local(err)
	}
	return nil
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.current == nil {
		return nil
	}
	current := b.current
	b.current = nil
	return current.Close()
}
