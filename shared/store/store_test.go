package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/storetest"
)

func openDir(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestDirectory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store {
		dir := t.TempDir()
		t.Cleanup(func() { wantNoTemporaries(t, dir) })
		return openDir(t, dir)
	}, storetest.Options{Rounds: 10_000})
}

func TestBucket(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store {
		s := store.OpenBucket(memblob.OpenBucket(nil), store.Extension{})
		t.Cleanup(func() { _ = s.Close() })
		return s
	}, storetest.Options{Rounds: 500})
}

// TestLargeUploadsTakeTurns has room for one large upload at a time: the others wait for it, small
// ones do not.
func TestLargeUploadsTakeTurns(t *testing.T) {
	s := store.OpenBucket(memblob.OpenBucket(nil), store.Extension{UploadMemory: math.MaxInt64})
	t.Cleanup(func() { _ = s.Close() })
	start := func(ctx context.Context, key string) (sender *io.PipeWriter, done <-chan error) {
		r, w := io.Pipe()
		errs := make(chan error, 1)
		go func() {
			_, err := s.Put(ctx, key, r)
			_ = r.CloseWithError(err) // to whoever still sends
			errs <- err
		}()
		return w, errs
	}
	// the first tells that it is large
	begin, rest := bytes.Repeat([]byte("x"), 256<<10+1), bytes.Repeat([]byte("x"), 1<<20)
	one, oneDone := start(t.Context(), "one")
	if _, err := one.Write(append(begin, rest...)); err != nil { // it has its place once more is read
		t.Fatal(err)
	}
	var over atomic.Bool // the first
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	send := func(w *io.PipeWriter) {
		if _, err := w.Write(begin); err != nil {
			t.Error(err)
		}
		go func() {
			if _, err := w.Write(rest); err == nil && !over.Load() {
				t.Error("another large one did not wait")
			}
			_ = w.Close()
		}()
	}
	two, twoDone := start(ctx, "two")
	send(two)
	three, threeDone := start(t.Context(), "three")
	send(three)
	for n := range 10 {
		if _, err := s.Put(t.Context(), fmt.Sprintf("small/%d", n), strings.NewReader("x")); err != nil {
			t.Errorf("a small one: %v", err)
		}
	}
	cancel()
	if err := <-twoDone; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it waits: %v", err)
	}
	over.Store(true)
	_ = one.Close()
	for name, done := range map[string]<-chan error{"one": oneDone, "three": threeDone} {
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := s.List(t.Context(), "", "small/9", 10); err != nil || cmp.Diff([]string{"three"}, got) != "" {
		t.Errorf("behind the small ones are %q, %v", got, err)
	}
}

// wantNoTemporaries looks for what writers leave. Tests name no file like that themselves but one.
func wantNoTemporaries(t *testing.T, dir string) {
	for _, path := range tree(t, dir) {
		if strings.Contains(path, "record-") || strings.HasSuffix(path, ".tmp") && filepath.Base(path) != "result.tmp" &&
			path != "g/.tmp" && path != ".tmp/" {
			t.Errorf("left behind: %s", path)
		}
	}
}

// tree returns everything below dir, folders with a slash.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	paths := []string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if e.IsDir() {
			name += "/"
		}
		paths = append(paths, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestFoldersArePruned(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ctx := t.Context()
	for _, key := range []string{"job/a", "job/results/x/y/z", "marks/0/1/job", "marks/0/2/job"} {
		if _, err := s.Put(ctx, key, strings.NewReader(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(ctx, "marks/0/1/job"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveAll(ctx, "job/results/x/"); err != nil {
		t.Fatal(err)
	}
	want := []string{"job/", "job/a", "marks/", "marks/0/", "marks/0/2/", "marks/0/2/job"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if err := errors.Join(s.RemoveAll(ctx, "job/"), s.RemoveAll(ctx, "marks/")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{}, tree(t, dir)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// A writer that fails, for whatever reason, leaves no file. Its folder goes with the job.
func TestFailedWritesLeaveNoFiles(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	body := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("some bytes")))
	if _, err := s.Put(t.Context(), "job/a", body); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("Put: %v; want the reader's error", err)
	}
	if err := s.Create(t.Context(), "job", nil); err == nil {
		t.Error("a record took the place of a folder")
	}
	if diff := cmp.Diff([]string{"job/"}, tree(t, dir)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func TestNamesTheDirectoryCannotHold(t *testing.T) {
	s := openDir(t, t.TempDir())
	ctx := t.Context()
	if _, err := s.Put(ctx, "file", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"job/" + strings.Repeat("n", 256), "file/below", strings.Repeat("d/", 2500) + "x"} {
		if _, err := s.Put(ctx, key, strings.NewReader("x")); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("Put(%.20s): %v; want ErrInvalid", key, err)
		}
		if err := s.Create(ctx, key, []byte("x")); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("Create(%.20s): %v; want ErrInvalid", key, err)
		}
		if err := s.Mark(ctx, key); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("Mark(%.20s): %v; want ErrInvalid", key, err)
		}
	}
	if err := s.Mark(ctx, "folder/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "folder", strings.NewReader("x")); !errors.Is(err, job.ErrInvalid) {
		t.Errorf("Put over a folder: %v; want ErrInvalid", err)
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no file system to fill: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := openDir(t, dir)
	ctx := t.Context()
	if _, err := s.Put(ctx, "job/small", strings.NewReader("fits")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "job/small", strings.NewReader(strings.Repeat("x", 1<<20))); !errors.Is(err,
		job.ErrExhausted) {
		t.Errorf("Put: %v; want ErrExhausted", err)
	}
	if err := s.Create(ctx, "job/record", make([]byte, 1<<20)); !errors.Is(err, job.ErrExhausted) {
		t.Errorf("Create: %v; want ErrExhausted", err)
	}
	if got, err := s.Read(ctx, "job/small"); err != nil || string(got) != "fits" {
		t.Errorf("the older blob reads %.10q, %v", got, err)
	}
	if diff := cmp.Diff([]string{".tmp/", "job/", "job/small"}, tree(t, dir)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if free, known := s.Free(); !known || free <= 0 || free > 256<<10 {
		t.Errorf("Free() = %d, %v; want some of 256 KiB", free, known)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	if err := s.Sweep(t.Context(), 0); err != nil {
		t.Errorf("sweep of an unused directory: %v", err)
	}
	if err := s.Create(t.Context(), "a/record", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"record-old.tmp": 2 * time.Hour, "record-new.tmp": time.Minute} {
		path := filepath.Join(dir, ".tmp", name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sweep(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{".tmp/", ".tmp/record-new.tmp", "a/", "a/record"}, tree(t, dir)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	// What is in the making is in no list.
	if got, err := s.List(t.Context(), "", "", 10); err != nil || len(got) != 1 {
		t.Errorf("List = %v, %v; want the record alone", got, err)
	}
}

// Other users of the machine see nothing, and a file opened whole can be sent without copying.
func TestFilesAreFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	s := openDir(t, dir)
	if _, err := s.Put(t.Context(), "job/blob", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "job")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, %v; want 0700", path, info.Mode(), err)
		}
	}
	r, err := s.Open(t.Context(), "job/blob", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.File() == nil {
		t.Error("no file behind a blob of a directory")
	}
	if data, err := os.ReadFile(filepath.Join(dir, "job", "blob")); err != nil || string(data) != "x" {
		t.Errorf("a blob is not a plain file of its name: %v", err)
	}
}

func FuzzStoreKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "../x", "x.attrs", "a..~/b", "a//b", "\x00", "a/.", "%2e", ".tmp/x",
		"__0x2f__"} {
		f.Add(key, key+"~")
	}
	dir := f.TempDir()
	s := openDir(f, filepath.Join(dir, "bucket"))
	outside := filepath.Join(dir, "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		ctx := t.Context()
		if err := s.RemoveAll(ctx, "f/"); err != nil {
			t.Fatal(err)
		}
		// Nothing that a key says leads out of the bucket, and two keys never are one blob.
		_, errPut := s.Put(ctx, "f/"+one, strings.NewReader("one"))
		errCreate := s.Create(ctx, "f/"+other, []byte("other"))
		for key, err := range map[string]error{one: errPut, other: errCreate} {
			if err != nil && !errors.Is(err, job.ErrInvalid) && !errors.Is(err, job.ErrExists) {
				t.Errorf("key %q: %v", key, err)
			}
		}
		if errPut == nil {
			if got, err := s.Read(ctx, "f/"+one); err != nil || string(got) != "one" {
				t.Errorf("Read(%q) = %q, %v after Put, with %q beside it", one, got, err, other)
			}
		}
		if errCreate == nil {
			if got, err := s.Read(ctx, "f/"+other); err != nil || string(got) != "other" {
				t.Errorf("Read(%q) = %q, %v after Create, with %q beside it", other, got, err, one)
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Fatalf("something was written beside the bucket: %v, %v", entries, err)
		}
		if err := s.RemoveAll(ctx, "f/"); err != nil {
			t.Fatal(err)
		}
		for _, path := range tree(t, filepath.Join(dir, "bucket")) {
			if path != ".tmp/" {
				t.Errorf("left behind: %s", fmt.Sprintf("%q", path))
			}
		}
	})
}
