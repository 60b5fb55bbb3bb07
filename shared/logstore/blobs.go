package logstore

import (
	"context"
	"fmt"
	"io"

	"go-job-orchestrator/shared/store"
)

// opener is what blobs are read from.
type opener interface {
	Open(ctx context.Context, key string, offset, length int64) (*store.Reader, error)
}

// blobs reads blobs forward. What is read of one in several turns comes by one request: a log has
// far more chunks than there should be requests.
type blobs struct {
	store opener
	open  map[string]*blob
}

// blob is a blob that is being read.
type blob struct {
	in *store.Reader
	at int64
}

// maxSkip is how much is read and thrown away rather than asked for anew.
const maxSkip = 64 << 10

// reader returns what reads the bytes of a stored chunk from begin on.
func (b *blobs) reader(ctx context.Context, e *storedChunk, begin int64) (io.Reader, error) {
	offset := e.offset + begin
	open := b.open[e.key]
	if open == nil || open.at > offset || offset-open.at > maxSkip {
		b.close(e.key)
		in, err := b.store.Open(ctx, e.key, offset, -1)
		if err != nil {
			return nil, err
		}
		open = &blob{in, offset}
		if b.open == nil {
			b.open = map[string]*blob{}
		}
		b.open[e.key] = open
	}
	if _, err := io.CopyN(io.Discard, open, offset-open.at); err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return io.LimitReader(open, e.bytes-begin), nil
}

func (b *blob) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	b.at += int64(n)
	return n, err
}

func (b *blobs) close(key string) {
	if open := b.open[key]; open != nil {
		open.in.Close()
		delete(b.open, key)
	}
}

func (b *blobs) closeAll() {
	for key := range b.open {
		b.close(key)
	}
}

// blockSize is how much is read at a time to find the beginning of a tail.
const blockSize = 64 << 10

// blocks reads blobs backward, a block at a time.
type blocks struct {
	store opener
	last  map[string]block
}

type block struct {
	offset int64
	data   []byte
}

// read returns the bytes of a stored chunk from begin to end, which are at most blockSize.
func (b *blocks) read(ctx context.Context, e *storedChunk, begin, end int64) ([]byte, error) {
	if e.data != nil {
		return e.data[begin:end], nil
	}
	begin, end = begin+e.offset, end+e.offset
	got, ok := b.last[e.key]
	if !ok || begin < got.offset || end > got.offset+int64(len(got.data)) {
		got = block{offset: max(end-blockSize, 0)}
		got.data = make([]byte, end-got.offset)
		in, err := b.store.Open(ctx, e.key, got.offset, end-got.offset)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		if _, err := io.ReadFull(in, got.data); err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		if len(b.last) >= 2 || b.last == nil { // those of the two files, or of a segment
			b.last = map[string]block{}
		}
		b.last[e.key] = got
	}
	return got.data[begin-got.offset : end-got.offset], nil
}
