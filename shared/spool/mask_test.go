//go:build linux

package spool_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/mask"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
)

// TestMasked writes secrets in parts, on both streams and beyond the limit, and makes sure that the
// order tells of what is kept.
func TestMasked(t *testing.T) {
	const value = "hunter2hunter2"
	type write struct {
		stream spool.Stream
		text   string
	}
	out := func(text string) write { return write{spool.Stdout, text} }
	errs := func(text string) write { return write{spool.Stderr, text} }
	for name, test := range map[string]struct {
		limit  int64
		writes []write
		want   string
	}{
		"whole":      {0, []write{out("a " + value + " b\n"), errs("c\n")}, "a *** b\nc\n"},
		"in parts":   {0, []write{out("a hun"), out("ter2"), out("hunter2 b\n")}, "a *** b\n"},
		"none":       {0, []write{out("a hun"), out("ters\n")}, "a hunters\n"},
		"at the end": {0, []write{out("a hunter2hunter")}, "a hunter2hunter"},
		"beside":     {0, []write{out("a hunter2"), errs("c\n"), out("hunter2\n")}, "a c\n***\n"},
		"on both":    {0, []write{out("hunter2"), errs("hunter2"), errs("hunter2\n"), out("hunter2\n")}, "***\n***\n"},
		"a limit": {10, []write{out(value + "12345"), out("678901234567\n")}, "***1234567\n[the log ends here: it has " +
			"10 bytes (MAX_LOG_BYTES); the program goes on, what else it writes is not kept]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			files := spooltest.Open(t, t.TempDir())
			w, err := spool.NewWriter(files, test.limit)
			if err != nil {
				t.Fatal(err)
			}
			w.Mask(mask.New([]string{value}))
			for _, one := range test.writes {
				w.Write(one.stream, []byte(one.text))
			}
			w.Flush()
			got, err := io.ReadAll(files.Reader())
			if err != nil || string(got) != test.want {
				t.Errorf("got %q, want %q; %v", got, test.want, err)
			}
			last, err := files.Records()
			if err != nil {
				t.Fatal(err)
			}
			end := make([]byte, spool.RecordSize)
			if _, err := last.ReadAt(end, last.Size()-spool.RecordSize); err != nil {
				t.Fatal(err)
			}
			if total := spool.Decode(end).End.Total(); total != int64(len(test.want)) {
				t.Errorf("the order tells of %d bytes, want %d", total, len(test.want))
			}
		})
	}
}

// TestHeldBack makes sure that the beginning of a secret is told after a while, when Settle is
// called or the other stream is written to.
func TestHeldBack(t *testing.T) {
	files, w := spooltest.New(t)
	w.Mask(mask.New([]string{"hunter2hunter2"}))
	size := func(f *os.File) int64 {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	w.Write(spool.Stdout, []byte("pw: hunter2"))
	after := w.Settle()
	if after <= 0 || after > 100*time.Millisecond || size(files.Stdout) != 4 {
		t.Fatalf("told %d bytes; the rest after %s", size(files.Stdout), after)
	}
	time.Sleep(after + time.Millisecond)
	if after := w.Settle(); after != 0 || size(files.Stdout) != 11 {
		t.Errorf("told %d bytes; the rest after %s", size(files.Stdout), after)
	}
	w.Write(spool.Stdout, []byte(" hunter2"))
	time.Sleep(101 * time.Millisecond)
	w.Write(spool.Stderr, []byte("x"))
	if size(files.Stdout) != 19 {
		t.Errorf("told %d bytes when the other stream was written to", size(files.Stdout))
	}
}

// TestMaskedPipes has a program's pipes masked.
func TestMaskedPipes(t *testing.T) {
	files, w := spooltest.New(t)
	w.Mask(mask.New([]string{"hunter2hunter2"}))
	p, err := spool.NewPipes(w, spool.User{UID: -1, GID: -1}, false)
	if err != nil {
		t.Fatal(err)
	}
	go p.Run()
	const lines = 3000
	for range lines { // more than makes a pipe a large one
		for _, part := range []string{"pw is hunter2", "hunter2", " indeed\n"} {
			if _, err := p.Stdout().WriteString(part); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := p.Stderr().WriteString("ends with hunter2"); err != nil {
		t.Fatal(err)
	}
	p.Finish()
	got, err := io.ReadAll(files.Reader())
	want := strings.Repeat("pw is *** indeed\n", lines) + "ends with hunter2"
	if err != nil || string(got) != want {
		t.Errorf("got %d bytes, want %d: %.100q, %v", len(got), len(want), got, err)
	}
}
