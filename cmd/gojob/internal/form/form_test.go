package form_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/shared/archive"
	server "go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
)

// read has the server's own reader read a form. It returns the job and the content of its files.
func read(t testing.TB, f *form.Form) (*server.Job, map[string]string, error) {
	t.Helper()
	reader := server.NewReader(server.Limits{
		TotalBytes: 1 << 30, FieldBytes: 1 << 20, Files: 100, NameBytes: job.MaxNameBytes,
		Archive: archive.Limits{Entries: 1000, Unpacked: 1 << 30},
	})
	r := httptest.NewRequest("POST", "/api/v1/jobs", f.Body(t.Context()))
	r.Header.Set("Content-Type", f.ContentType())
	contents := map[string]string{}
	sent, err := reader.Read(r, job.Spec{}, func(_ context.Context, name string, r io.Reader) (job.File, error) {
		content, err := io.ReadAll(r)
		contents[name] = string(content)
		return job.File{Name: name, Size: int64(len(content))}, err
	})
	return sent, contents, err
}

func TestForm(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"plain.py": "print()\n", "pkg/m.py": "", `quo"te`: "q", "100%.txt": "p", "a%22b": "escaped", "%0d%0A": "breaks", "é ü.txt": "é",
		"semi;colon=x": "s", "a'b": "'", "日本語/名前.txt": "x", "%": "%",
	}
	f := &form.Form{}
	f.Add("name", "Ünïcode \"name\"")
	f.Add("queue", "")
	f.Fields = append(f.Fields, form.Field{Name: "arg", Value: ""}, form.Field{Name: "arg", Value: "--x\r\n--boundary"},
		form.Field{Name: "secret.A_B", Value: "s"})
	for name, text := range files {
		f.Files = append(f.Files, form.Text(name, text))
	}
	stdin := form.Text("stdin", "\x00\xff")
	f.Stdin = &stdin
	sent, contents, err := read(t, f)
	if err != nil {
		t.Fatal(err)
	}
	files[job.StdinFile] = "\x00\xff"
	if diff := cmp.Diff(files, contents); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "--x\r\n--boundary"}, sent.Spec.Args); diff != "" || sent.Spec.Name != "Ünïcode \"name\"" {
		t.Errorf("fields: %q, args (-want +got):\n%s", sent.Spec.Name, diff)
	}
	first, second := content(t, f), content(t, f)
	if !bytes.Equal(first, second) {
		t.Error("the second try sends other bytes")
	}
	if n, err := f.Length(); err != nil || n != int64(len(first)) {
		t.Errorf("Length says %d, %v; the body has %d bytes", n, err, len(first))
	}
}

func content(t testing.TB, f *form.Form) []byte {
	t.Helper()
	all, err := io.ReadAll(f.Body(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// FuzzNames sends files of any name. The server gets the same name, or says that there can be no such
// file.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"a.py", `a"b`, "%22", "a\rb", "a\\b", "é", "\xff", "", "a;b", "a%2", "'", "index.json", "a%0db\"é"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if job.CheckFileName(name, job.MaxNameBytes) != "" {
			t.Skip() // it is refused before
		}
		_, contents, err := read(t, &form.Form{Files: []form.File{form.Text(name, "x")}})
		var faults *job.Faults
		if errors.As(err, &faults) && faults.List[0].Field == "runtime" {
			err = nil
		}
		if diff := cmp.Diff(map[string]string{name: "x"}, contents); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// TestFaults has the body end with a fault of this machine, which can be told from one of the line.
func TestFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := os.WriteFile(path, []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := form.Local(path, "x")
	if err != nil {
		t.Fatal(err)
	}
	f := &form.Form{Files: []form.File{file}}
	whole := content(t, f)
	if err := os.WriteFile(path, []byte("0123456789 and more"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(whole, content(t, f)) {
		t.Error("a file that has grown is not sent as far as it was")
	}
	if err := os.Truncate(path, 4); err != nil {
		t.Fatal(err)
	}
	wantLocal(t, f, "x became shorter while it was sent: it had 10 bytes and has 4")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantLocal(t, f, "no such file")
	f = &form.Form{Archive: failing{}}
	wantLocal(t, f, "no archive")
}

func wantLocal(t *testing.T, f *form.Form, message string) {
	t.Helper()
	_, err := io.ReadAll(f.Body(t.Context()))
	var local *form.LocalError
	if !errors.As(err, &local) || !strings.Contains(err.Error(), message) {
		t.Errorf("got %v, want %q", err, message)
	}
}

type failing struct{}

func (failing) Open(context.Context) io.ReadCloser {
	return io.NopCloser(iotest.ErrReader(errors.New("no archive")))
}
func (failing) Size() (int64, error) { return 10, nil }

// TestSpool sends a pipe twice, and what is left of a file.
func TestSpool(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(w, "from a pipe"); _ = w.Close() }()
	piped, err := form.Spool(r, "stdin")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("begin and rest"), 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(6, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	rest, err := form.Spool(file, "stdin")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for want, f := range map[string]form.File{"from a pipe": piped, "and rest": rest} {
			content, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(content)
			if err != nil || string(got) != want || f.Size != int64(len(want)) {
				t.Errorf("got %q, %v, size %d; want %q", got, err, f.Size, want)
			}
		}
	}
}

// TestClosed closes the archive of a body that is not read to its end, also while it is read.
func TestClosed(t *testing.T) {
	t.Parallel()
	a := &endless{}
	body := (&form.Form{Archive: a}).Body(t.Context())
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, body)
		read <- err
	}()
	for a.bytes.Load() < 1<<20 {
		runtime.Gosched()
	}
	if err := body.Close(); err != nil || !a.closed.Load() {
		t.Errorf("the archive is not closed: %v", err)
	}
	if err := <-read; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("reading ends with %v", err)
	}
}

type endless struct {
	bytes  atomic.Int64
	closed atomic.Bool
}

func (e *endless) Open(context.Context) io.ReadCloser { return e }
func (e *endless) Size() (int64, error)               { return 1 << 40, nil }
func (e *endless) Read(p []byte) (int, error)         { e.bytes.Add(int64(len(p))); return len(p), nil }
func (e *endless) Close() error                       { e.closed.Store(true); return nil }
