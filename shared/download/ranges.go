package download

import (
	"context"
	"errors"
	"io"
	"sync"

	"go-job-orchestrator/shared/store"
)

// ranges is a blob of a bucket that has no files. Seeking costs nothing; a reader is opened at the first read behind it.
type ranges struct {
	ctx    context.Context //nolint:containedctx // lives as long as one request
	bucket Bucket
	key    string
	size   int64

	mu     sync.Mutex // http.ServeContent may still read in a goroutine when it has returned
	at     int64
	reader *store.Reader // stands at at, or is nil
	closed bool
}

var errClosed = errors.New("read of a closed blob")

// newRanges returns the blob as content. A reader, if there is one, stands at its beginning.
func newRanges(ctx context.Context, b Bucket, key string, info store.Info, reader *store.Reader) *content {
	s := &ranges{ctx: ctx, bucket: b, key: key, size: info.Size, reader: reader}
	return &content{ReadSeeker: s, Closer: s, size: info.Size, modTime: info.ModTime}
}

// Read implements io.Reader.
func (s *ranges) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, errClosed
	case s.at >= s.size:
		return 0, io.EOF
	}
	if s.reader == nil {
		reader, err := s.bucket.Open(s.ctx, s.key, s.at, -1)
		if err != nil {
			return 0, err
		}
		s.reader = reader
	}
	n, err := s.reader.Read(p)
	s.at += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (s *ranges) Seek(offset int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	if offset == s.at {
		return offset, nil
	}
	s.at = offset
	// ServeContent looks for the end and comes back: a reader at the beginning is worth keeping until something is
	// read elsewhere.
	return offset, s.drop()
}

// Close implements io.Closer.
func (s *ranges) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.drop()
}

func (s *ranges) drop() error {
	if s.reader == nil {
		return nil
	}
	err := s.reader.Close()
	s.reader = nil
	return err
}
