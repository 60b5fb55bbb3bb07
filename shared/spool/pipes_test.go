//go:build linux

package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run runs a shell command with a spool in dir, and returns the spool once it has ended.
func run(tb testing.TB, dir string, limit int64, command string) Files {
	tb.Helper()
	return runAs(tb, dir, limit, command, false)
}

func runAs(tb testing.TB, dir string, limit int64, command string, nonblocking bool) Files {
	tb.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer root.Close()
	f, err := Open(root)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	w, err := NewWriter(f, limit)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := NewPipes(w, User{-1, -1}, nonblocking)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), "/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = p.Stdout(), p.Stderr()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go p.Run()
	_ = cmd.Wait() // how it ends is its business
	p.Finish()
	return f
}

// merged returns both streams in the order in which they came.
func merged(tb testing.TB, f Files) string {
	tb.Helper()
	all, err := io.ReadAll(f.Reader())
	if err != nil {
		tb.Fatal(err)
	}
	sizes := int64(0)
	for _, file := range []*os.File{f.Stdout, f.Stderr} {
		info, err := file.Stat()
		if err != nil {
			tb.Fatal(err)
		}
		sizes += info.Size()
	}
	if int64(len(all)) != sizes {
		tb.Errorf("the order tells of %d bytes of %d", len(all), sizes)
	}
	return string(all)
}

// TestOrderOfStreams has the shell write to both streams as fast as it can.
func TestOrderOfStreams(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "o%d\ne%d\n", i, i)
	}
	got := merged(t, run(t, t.TempDir(), 0, "i=0; while [ $i -lt 2000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"))
	if got != want.String() {
		t.Errorf("got %.200q…", got)
	}
	// Many lines on one stream, then one on the other, and so on.
	want.Reset()
	for range 20 {
		want.WriteString(strings.Repeat("o\n", 500) + "e\n")
	}
	got = merged(t, run(t, t.TempDir(), 0, "for j in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do i=0; while "+
		"[ $i -lt 500 ]; do echo o; i=$((i+1)); done; echo e >&2; done"))
	if got != want.String() {
		t.Errorf("bursts: got %d bytes, want %d; %.200q…", len(got), want.Len(), got)
	}
}

// TestStreams keeps what programs write, whatever it is.
func TestStreams(t *testing.T) {
	t.Parallel()
	lines := strings.Repeat(strings.Repeat("x", 100)+"\n", 200_000)
	tests := map[string]struct{ command, stdout, stderr string }{
		"nothing":          {"exit 3", "", ""},
		"no final newline": {"printf a; printf b >&2", "a", "b"},
		"bytes":            {`printf 'a\000\377\r\n\033'`, "a\x00\xff\r\n\x1b", ""},
		"a line of 10 MiB": {"head -c 10485760 /dev/zero | tr '\\0' y", strings.Repeat("y", 10<<20), ""},
		"many lines":       {"yes " + strings.Repeat("x", 100) + " | head -n 200000", lines, ""},
		"both floods": {"(yes | head -n 300000) & (yes n | head -n 300000) >&2; wait", strings.Repeat("y\n", 300_000),
			strings.Repeat("n\n", 300_000)},
		"children": {"(sleep 0.1; echo late) & echo soon; wait", "soon\nlate\n", ""},
		"opened again": {"echo 1; echo 2 > /dev/stdout; echo 3 >> /dev/stdout; echo 4 > /dev/stderr", "1\n2\n3\n",
			"4\n"},
		"opened while large": {"yes | head -n 100000; echo 2 > /dev/stdout; yes | head -n 2",
			strings.Repeat("y\n", 100_000) + "2\ny\ny\n", ""},
		"both to one": {"exec 2>&1; echo 1; echo 2 >&2; echo 3", "1\n2\n3\n", ""},
		"closed":      {"echo 1; exec >&-; echo said >&2", "1\n", "said\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := run(t, t.TempDir(), 0, tt.command)
			merged(t, f)
			if got := content(t, f.Stdout); got != tt.stdout {
				t.Errorf("stdout has %d bytes, want %d: %.100q…", len(got), len(tt.stdout), got)
			}
			if got := content(t, f.Stderr); got != tt.stderr {
				t.Errorf("stderr has %d bytes, want %d: %.100q…", len(got), len(tt.stderr), got)
			}
		})
	}
}

// TestNonBlocking runs programs that do not wait. None of what they write may be lost when they
// exit at once.
func TestNonBlocking(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ command, want string }{
		"many lines": {`node -e 'for (let i = 0; i < 2000; i++) console.log("y"); process.exit(0)'`,
			strings.Repeat("y\n", 2000)},
		"much": {`node -e 'process.stdout.write("z".repeat(500000)); process.exit(0)'`, strings.Repeat("z", 500_000)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := runAs(t, t.TempDir(), 0, tt.command, true)
			if got := content(t, f.Stdout); got != tt.want {
				t.Errorf("the log has %d bytes, want %d", len(got), len(tt.want))
			}
		})
	}
	t.Run("found out", func(t *testing.T) {
		t.Parallel()
		f := run(t, t.TempDir(), 0, `python3 -u -c '
import fcntl, os, time
os.set_blocking(1, False)
os.write(1, b"first\n")
while fcntl.fcntl(1, fcntl.F_GETPIPE_SZ) < 500000: time.sleep(0.01)
os.write(1, b"z" * 500000)'`)
		if got := content(t, f.Stdout); got != "first\n"+strings.Repeat("z", 500_000) {
			t.Errorf("the log has %d bytes", len(got))
		}
	})
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestOutOfReach has a program try to change what it has written.
func TestOutOfReach(t *testing.T) {
	t.Parallel()
	f := run(t, t.TempDir(), 0, `i=0; while [ $i -lt 1000 ]; do echo $i; i=$((i+1)); done
python3 - <<'E'
import os, fcntl
for call in (lambda: os.ftruncate(1, 0), lambda: os.lseek(1, 0, 0), lambda: os.pwrite(1, b"x", 0), lambda: open("/proc/self/fd/1", "r+b", 0).truncate(0)):
    try: call(); print("done")
    except OSError: pass
print(os.readlink("/proc/self/fd/1").split(":")[0], os.readlink("/proc/self/fd/2").split(":")[0])
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)
E
echo note > /dev/stdout`)
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintln(&want, i)
	}
	want.WriteString("pipe pipe\nnote\n")
	if got := content(t, f.Stdout); got != want.String() {
		t.Errorf("the log has %d bytes, want %d; it ends with %q", len(got), want.Len(), got[max(len(got)-200, 0):])
	}
}

// TestLimit writes more than is kept. The program does not notice, and the log says so once, also
// when another attempt goes on.
func TestLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for attempt := range 2 {
		f := run(t, dir, 1000, "yes | head -n 100000 && echo over >&2")
		got := content(t, f.Stdout)
		if !strings.HasPrefix(got, strings.Repeat("y\n", 500)+"[the log ends here: it has 1000 bytes (MAX_LOG_BYTES)") ||
			strings.Count(got, "[") != 1 {
			t.Errorf("attempt %d: the log has %d bytes and ends with %q", attempt, len(got), got[max(len(got)-200, 0):])
		}
		if got := content(t, f.Stderr); got != "" {
			t.Errorf("attempt %d: after the limit came %q", attempt, got)
		}
		merged(t, f)
	}
}

// TestGoesOn lets one attempt after another write, the order of all of them is kept.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := ""
	for range 3 {
		f := run(t, dir, 0, "echo 1; echo 2 >&2; echo 3")
		want += "1\n2\n3\n"
		if got := merged(t, f); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

const linesScript = `python3 -c "
import os
for i in range(500000): os.write(1, b'a line of some length, number %d\n' % i)"`

// Compare with the same to a file: benchstat, or by eye.
func BenchmarkPipes(b *testing.B) {
	for name, command := range map[string]string{"blocks": "head -c 1073741824 /dev/zero", "lines": linesScript} {
		b.Run(name+"/pipe", func(b *testing.B) {
			for b.Loop() {
				run(b, b.TempDir(), 0, command)
			}
		})
		b.Run(name+"/file", func(b *testing.B) {
			for b.Loop() {
				f, err := os.Create(filepath.Join(b.TempDir(), "log"))
				if err != nil {
					b.Fatal(err)
				}
				cmd := exec.CommandContext(b.Context(), "/bin/sh", "-c", command)
				cmd.Stdout = f
				if err := errors.Join(cmd.Run(), f.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
