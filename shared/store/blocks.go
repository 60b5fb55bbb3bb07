package store

import (
	"context"
	"errors"
	"io"
)

// blockBytes is how much of a blob one request reads for an At.
const blockBytes = 256 << 10

// At reads a blob at any place, with a request for each block. It keeps one block. It must not be
// used concurrently.
type At struct {
	ctx   context.Context //nolint:containedctx // io.ReaderAt has none
	store *Store
	key   string
	size  int64
	start int64
	block []byte
}

var _ io.ReaderAt = (*At)(nil)

// ReaderAt returns an At for a blob of that size.
func (s *Store) ReaderAt(ctx context.Context, key string, size int64) *At {
	return &At{ctx: ctx, store: s, key: key, size: size}
}

// ReadAt implements io.ReaderAt.
func (a *At) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) {
		from := at + int64(n)
		if from < 0 || from >= a.size {
			return n, io.EOF
		}
		if from < a.start || from >= a.start+int64(len(a.block)) {
			if err := a.fill(from); err != nil {
				return n, err
			}
		}
		n += copy(p[n:], a.block[from-a.start:])
	}
	return n, nil
}

// fill reads the block that begins at an offset.
func (a *At) fill(from int64) error {
	length := min(blockBytes, a.size-from)
	r, err := a.store.Open(a.ctx, a.key, from, length)
	if err != nil {
		return err
	}
	defer r.Close()
	if a.block == nil {
		a.block = make([]byte, blockBytes)
	}
	a.block = a.block[:length]
	if _, err := io.ReadFull(r, a.block); err != nil {
		a.block = a.block[:0]
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the blob is shorter than it was")
		}
		return a.store.kind(err, "read", a.key)
	}
	a.start = from
	return nil
}
