package spool_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
)

// TestOpen finds other things where the files should be. None may be followed, written to or waited
// for.
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
		"none":                {func(spool.Files) error { return nil }, "o1 e1 o2 "},
		"no order":            {func(f spool.Files) error { return f.Order.Truncate(0) }, "o1 o2 e1 "},
		"half a record":       {func(f spool.Files) error { return f.Order.Truncate(2*spool.RecordSize + 3) }, "o1 e1 o2 "},
		"a stream is shorter": {func(f spool.Files) error { return f.Stdout.Truncate(4) }, "o1 e1 o"},
		"a stream is empty":   {func(f spool.Files) error { return f.Stdout.Truncate(0) }, "e1 "},
		"more than is told of": {func(f spool.Files) error { _, err := f.Stderr.WriteString("e2 "); return err },
			"o1 e1 o2 e2 "},
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

// TestRecord stores records and reads them.
func TestRecord(t *testing.T) {
	t.Parallel()
	most := int64(spool.MaxPosition)
	for _, want := range []spool.Record{
		{},
		{At: time.UnixMicro(1), Attempt: 1, End: spool.Position{Stdout: 1}},
		{At: time.UnixMicro(1_790_000_000_123_456), Attempt: 65535, End: spool.Position{Stdout: most, Stderr: most}},
		{Attempt: 7, End: spool.Position{Stdout: 3, Stderr: most - 1}},
	} {
		if got := spool.Decode(want.Encode()); !cmp.Equal(want, got) {
			t.Errorf("%+v came back as %+v", want, got)
		}
	}
}

// TestBegin marks attempts, of which one writes nothing and one is cut off before its last bytes
// have a record.
func TestBegin(t *testing.T) {
	t.Parallel()
	f := spooltest.Open(t, t.TempDir())
	for attempt := 1; attempt <= 3; attempt++ {
		if err := f.Begin(attempt); err != nil {
			t.Fatal(err)
		}
		w, err := spool.NewWriter(f, 0)
		if err != nil {
			t.Fatal(err)
		}
		if attempt != 2 {
			w.Write(spool.Stdout, []byte("out"))
			w.Write(spool.Stderr, []byte("err")) // no Sync
		}
	}
	in, err := f.Records()
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Attempt int
		End     spool.Position
	}
	var got []row
	var last time.Time
	for b := make([]byte, spool.RecordSize); ; {
		if _, err := io.ReadFull(in, b); err != nil {
			break
		}
		r := spool.Decode(b)
		if r.At.Before(last) || r.At.IsZero() {
			t.Errorf("%+v after %v", r, last)
		}
		last = r.At
		got = append(got, row{r.Attempt, r.End})
	}
	want := []row{
		{1, spool.Position{}}, {1, spool.Position{Stdout: 3}}, {1, spool.Position{Stdout: 3, Stderr: 3}},
		{2, spool.Position{Stdout: 3, Stderr: 3}},
		{3, spool.Position{Stdout: 3, Stderr: 3}}, {3, spool.Position{Stdout: 6, Stderr: 3}},
		{3, spool.Position{Stdout: 6, Stderr: 6}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestCoarse writes to both streams in turn for longer than the order is exact. It must stop
// growing, and no byte be lost.
func TestCoarse(t *testing.T) {
	t.Parallel()
	const exact = 100
	f, w := spooltest.New(t)
	w.ExactUpTo(exact)
	begun := time.Now()
	for i := range 20_000 {
		s := spool.Stream(i % 2)
		w.Write(s, []byte("x"))
		if i%3 == 0 {
			w.Settle()
		}
	}
	w.Sync()
	in, err := f.Records()
	if err != nil {
		t.Fatal(err)
	}
	if n, most := in.Size()/spool.RecordSize, exact+2+int64(time.Since(begun)/(100*time.Millisecond)); n > most {
		t.Errorf("%d records, want at most %d", n, most)
	}
	if all, err := io.ReadAll(f.Reader()); err != nil || len(all) != 20_000 {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

// TestSettle demands that what was written has a record soon, also when the order is a coarse one.
func TestSettle(t *testing.T) {
	t.Parallel()
	f, w := spooltest.New(t)
	w.ExactUpTo(0)
	w.Write(spool.Stdout, []byte("one"))
	for {
		after := w.Settle()
		if after == 0 {
			break
		}
		if after > 100*time.Millisecond {
			t.Fatalf("it may take %v", after)
		}
		time.Sleep(after)
	}
	if all, err := io.ReadAll(f.Reader()); err != nil || string(all) != "one" {
		t.Errorf("%q, %v", all, err)
	}
}

// TestNoRoom writes to a disk that is full for a while. Nobody is stopped by that, the log says
// that something is missing, and its order tells of what is there.
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
