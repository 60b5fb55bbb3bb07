package spool_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
)

// TestOpen finds other things where the files should be. None may be followed, written to or waited for.
func TestOpen(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(path string) error{
		"a link":            func(path string) error { return os.Symlink(outside, path) },
		"a link to nothing": func(path string) error { return os.Symlink(outside+"-too", path) },
		"a FIFO":            func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder":          func(path string) error { return os.Mkdir(path, 0o700) },
	}
	for name, put := range tests {
		for _, file := range []string{spool.StdoutName, spool.StderrName, spool.OrderName} {
			dir := t.TempDir()
			if err := put(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			if f, err := spool.Open(root); err == nil {
				t.Errorf("%s in place of %s was opened", name, file)
				f.Close()
			}
			root.Close()
		}
	}
	if _, err := os.Lstat(outside + "-too"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made outside: %v", err)
	}
}

// TestRepair has the files as a power failure leaves them.
func TestRepair(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		damage func(f spool.Files) error
		want   string
	}{
		"none":                 {func(spool.Files) error { return nil }, "o1 e1 o2 "},
		"no order":             {func(f spool.Files) error { return f.Order.Truncate(0) }, "o1 o2 e1 "},
		"half a record":        {func(f spool.Files) error { return f.Order.Truncate(2*spool.RecordSize + 3) }, "o1 e1 o2 "},
		"a stream is shorter":  {func(f spool.Files) error { return f.Stdout.Truncate(4) }, "o1 e1 o"},
		"a stream is empty":    {func(f spool.Files) error { return f.Stdout.Truncate(0) }, "e1 "},
		"more than is told of": {func(f spool.Files) error { _, err := f.Stderr.WriteString("e2 "); return err }, "o1 e1 o2 e2 "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := spooltest.Open(t, dir)
			w, err := spool.NewWriter(f, 0)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(spool.Stdout, []byte("o1 "))
			w.Write(spool.Stderr, []byte("e1 "))
			w.Write(spool.Stdout, []byte("o2 "))
			w.Sync()
			if err := tt.damage(f); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time there is nothing to do
				if err := f.Repair(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(f.Reader()); err != nil || string(got) != tt.want {
					t.Errorf("got %q, %v; want %q", got, err, tt.want)
				}
			}
		})
	}
}

// TestNoRoom writes to a disk that is full for a while. Nobody is stopped by that, the log says that something is missing, and its
// order tells of what is there.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	f, w := spooltest.New(t)
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	w.Write(spool.Stdout, []byte("before"))
	w.Sync()
	w.Redirect(spool.Files{Stdout: full, Stderr: full, Order: full})
	for range 1000 {
		w.Write(spool.Stdout, []byte("lost"))
		w.Write(spool.Stderr, []byte("lost"))
		w.Sync()
	}
	w.Redirect(f)
	w.Write(spool.Stderr, []byte("after\n"))
	w.Write(spool.Stdout, []byte("after\n"))
	w.Sync()
	got, err := io.ReadAll(f.Reader())
	const want = "before[some of the log is missing here: there was no room for it on the disk]\nafter\nafter\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
