package download

import (
	"context"
	"errors"
	"io"
	"sync"

	"go-job-orchestrator/shared/store"
)

// ranges is a blob of a bucket that has no files. Seeking costs nothing: a reader is opened at the
// first read elsewhere.
type ranges struct {
	ctx    context.Context //nolint:containedctx // lives as long as one request
	bucket Bucket
	key    string
	size   int64

	mu       sync.Mutex // http.ServeContent may still read in a goroutine when it has returned
	at       int64
	reader   *store.Reader
	readerAt int64
	closed   bool
}

var _ io.ReadSeekCloser = (*ranges)(nil)

var (
	errClosed  = errors.New("read of a closed blob")
	errSeeking = errors.New("seek before the beginning")
)

// newRanges returns the blob as content. A reader, if there is one, stands at its beginning.
func newRanges(ctx context.Context, b Bucket, key string, info store.Info, reader *store.Reader) *content {
	s := &ranges{ctx: ctx, bucket: b, key: key, size: info.Size, reader: reader}
	return &content{ReadSeeker: s, Closer: s, size: info.Size, modTime: info.ModTime}
}

func (s *ranges) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errClosed
	}
	if s.at >= s.size {
		return 0, io.EOF
	}
	if err := s.open(); err != nil {
		return 0, err
	}
	n, err := s.reader.Read(p)
	s.at += int64(n)
	s.readerAt = s.at
	return n, err
}

// open makes reader stand at at.
func (s *ranges) open() error {
	if s.reader != nil && s.readerAt == s.at {
		return nil
	}
	if err := s.drop(); err != nil {
		return err
	}
	reader, err := s.bucket.Open(s.ctx, s.key, s.at, -1)
	if err != nil {
		return err
	}
	s.reader, s.readerAt = reader, s.at
	return nil
}

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
		return 0, errSeeking
	}
	s.at = offset
	return offset, nil
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
