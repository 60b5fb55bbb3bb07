package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
)

// maxRecord bounds what Read takes into memory.
const maxRecord = 16 << 20

// Info describes one blob.
type Info struct {
	Size    int64
	ModTime time.Time
}

// Read returns a whole record.
func (s *Store) Read(ctx context.Context, key string) ([]byte, error) {
	r, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := budget.TakeRecord(ctx, r.Size); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return nil, s.kind(err, "read", key)
	}
	if len(data) > maxRecord {
		return nil, fmt.Errorf("read %s: the record is larger than %d bytes", key, maxRecord)
	}
	return data, nil
}

// Reader reads a blob or a part of it.
type Reader struct {
	io.ReadCloser
	Info // Size is that of the whole blob
	file *os.File
}

// File returns the open file behind a whole blob of a directory, and nil elsewhere. The Reader
// still closes it.
func (r *Reader) File() *os.File { return r.file }

// Open reads length bytes of the blob from offset on; a negative length is all the rest.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (*Reader, error) {
	name, err := encode(key)
	if err != nil {
		return nil, err
	}
	s.noteRead("open", key)
	r, err := s.driver.open(ctx, name, offset, length)
	if err != nil {
		return nil, s.kind(err, "read", key)
	}
	r.ReadCloser = &kindReader{r.ReadCloser, s, key}
	return r, nil
}

// kindReader gives the errors of reading their kinds.
type kindReader struct {
	io.ReadCloser
	store *Store
	key   string
}

func (r *kindReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.store.kind(err, "read", r.key)
	}
	return n, err
}

// Stat describes the blob at key.
func (s *Store) Stat(ctx context.Context, key string) (Info, error) {
	name, err := encode(key)
	if err != nil {
		return Info{}, err
	}
	s.noteRead("stat", key)
	info, err := s.driver.stat(ctx, name)
	if err != nil {
		return Info{}, s.kind(err, "stat", key)
	}
	return info, nil
}

// Exists reports whether there is a blob at key.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	_, err := s.Stat(ctx, key)
	if errors.Is(err, job.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
