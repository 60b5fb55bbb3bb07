package reload_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/reload"
)

// file is a file that a test changes, with a clock.
type file struct {
	t    *testing.T
	path string
	now  time.Time
	log  bytes.Buffer
	read int // how often its content was parsed
}

func newFile(t *testing.T) *file {
	return &file{t: t, path: filepath.Join(t.TempDir(), "words"), now: time.Unix(1e9, 0)}
}

func (f *file) config() reload.Config[string] {
	return reload.Config[string]{
		What: "words", Path: f.path, Limit: 10, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		Now: func() time.Time { return f.now },
		Parse: func(content []byte) (string, error) {
			f.read++
			if bytes.Contains(content, []byte("bad")) {
				return "", errors.New("a bad word")
			}
			return string(content), nil
		},
	}
}

// write replaces the file, as editors and the kubelet do.
func (f *file) write(content string) {
	f.t.Helper()
	temp := f.path + ".new"
	if err := errors.Join(os.WriteFile(temp, []byte(content), 0o600), os.Rename(temp, f.path)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *file) open() *reload.File[string] {
	f.t.Helper()
	opened, err := reload.Open(f.config())
	if err != nil {
		f.t.Fatal(err)
	}
	return opened
}

func TestFile(t *testing.T) {
	f := newFile(t)
	opened := f.open()
	want := func(content string) {
		t.Helper()
		f.now = f.now.Add(time.Second)
		if got := opened.Current(); got != content {
			t.Errorf("got %q, want %q", got, content)
		}
	}
	want("") // there is no file
	f.write("one")
	want("one")
	f.write("two")
	if got := opened.Current(); got != "one" {
		t.Errorf("looked at the file twice in a second: %q", got)
	}
	want("two")
	before := f.read
	want("two")
	if f.read != before {
		t.Error("a file that has not changed was read again")
	}
	for _, faulty := range []string{"bad", "eleven char"} {
		f.log.Reset()
		f.write(faulty)
		want("two")
		want("two")
		if n := strings.Count(f.log.String(), "words not read again"); n != 1 {
			t.Errorf("%s: logged %d times: %s", faulty, n, &f.log)
		}
	}
	f.write("three")
	want("three")
	f.now = f.now.Add(-time.Hour) // somebody has set the clock
	f.write("four")
	if got := opened.Current(); got != "four" {
		t.Errorf("after the clock was set: %q", got)
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	want("")
}

func TestOpenFaulty(t *testing.T) {
	for name, content := range map[string]string{"refused": "bad", "too long": "eleven char"} {
		f := newFile(t)
		f.write(content)
		if _, err := reload.Open(f.config()); err == nil || !strings.Contains(err.Error(), f.path) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	f := newFile(t)
	if err := os.Mkdir(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := reload.Open(f.config()); err == nil {
		t.Error("a folder was read")
	}
}

func TestReload(t *testing.T) {
	f := newFile(t)
	opened := f.open()
	f.write("one")
	if err := opened.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := opened.Current(); got != "one" { // without waiting
		t.Errorf("got %q", got)
	}
	f.write("bad")
	if err := opened.Reload(); err == nil {
		t.Error("a faulty file was accepted")
	}
	if got := opened.Current(); got != "one" {
		t.Errorf("after a faulty change: %q", got)
	}
	f.write("two")
	if got, err := reload.Read(f.config()); got != "two" || err != nil {
		t.Errorf("read now: %q, %v", got, err)
	}
}
