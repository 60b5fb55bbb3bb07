package store_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

// TestReaderAt reads a blob of several blocks at any place.
func TestReaderAt(t *testing.T) {
	s, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	content := make([]byte, 600<<10)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	if _, err := s.Put(t.Context(), "a/b", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	size := int64(len(content))
	at := s.ReaderAt(t.Context(), "a/b", size)
	if err := iotest.TestReader(io.NewSectionReader(at, 0, size), content); err != nil {
		t.Error(err)
	}
	for _, from := range []int64{size - 1, 0, 256<<10 - 3, 100, 512 << 10} {
		p := make([]byte, min(10, size-from))
		if n, err := at.ReadAt(p, from); n != len(p) || err != nil || !bytes.Equal(p, content[from:from+int64(n)]) {
			t.Errorf("at %d: %d bytes, %v", from, n, err)
		}
	}
	for _, from := range []int64{size, size + 1, -1} {
		if n, err := at.ReadAt(make([]byte, 1), from); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("at %d: %d bytes, %v", from, n, err)
		}
	}
	if n, err := at.ReadAt(make([]byte, 20), size-10); n != 10 || !errors.Is(err, io.EOF) {
		t.Errorf("beyond the end: %d bytes, %v", n, err)
	}
	if _, err := s.ReaderAt(t.Context(), "a/b", size+10).ReadAt(make([]byte, 20), size-5); err == nil {
		t.Error("a blob that is shorter is read to its end")
	}
	if err := s.Remove(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReaderAt(t.Context(), "a/b", size).ReadAt(make([]byte, 1), 0); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("a blob that is gone: %v", err)
	}
}
