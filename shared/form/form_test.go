package form_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

const boundary, contentType = formtest.Boundary, formtest.ContentType

// saver keeps what it is given, as storage would: nothing of what fails.
type saver map[string]string

func (s saver) save(_ context.Context, name string, r io.Reader) (job.File, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return job.File{}, err
	}
	s[name] = string(data)
	return job.File{Name: name, Size: int64(len(data))}, nil
}

func request(ctx context.Context, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

func limits() form.Limits {
	return form.Limits{TotalBytes: 1 << 20, FieldBytes: 1 << 10, Files: 5, NameBytes: 50,
		Archive: archive.Limits{Entries: 100, Unpacked: 1 << 20}}
}

// encode writes a form: fields as name=value, a file as @name=content.
func encode(t testing.TB, parts ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary(boundary); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		name, value, _ := strings.Cut(p, "=")
		var part io.Writer
		var err error
		if file, isFile := strings.CutPrefix(name, "@"); isFile {
			part, err = w.CreateFormFile("files", file)
		} else {
			part, err = w.CreateFormField(name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestRead reads a form with every field, its files before, between and behind them.
func TestRead(t *testing.T) {
	files := saver{}
	body := encode(t, "@a.py=print(1)", "runtime=python", `args=["x"]`, "@b=", "arg=y", "arg=", `env={"A":"b"}`,
		`labels={"l":"v"}`, "cpu=1", "memory=1Gi",
		"timeoutSeconds=5", "ttlSecondsAfterFinished=0", "retries=2", "image=alpine", "entrypoint=a.py", "@c=\r\n--x\r\n")
	got, err := form.NewReader(limits()).Read(request(t.Context(), body), job.Spec{TTLSecondsAfterFinished: 60},
		files.save)
	if err != nil {
		t.Fatal(err)
	}
	if names := got.Tree.Names(); !slices.Equal(names, []string{"a.py", "b", "c"}) {
		t.Errorf("the tree has %q", names)
	}
	got.Tree = nil
	want := &form.Job{
		Spec: job.Spec{
			Runtime: "python", Entrypoint: "a.py", Args: []string{"x", "y", ""}, Env: map[string]string{"A": "b"},
			Labels: map[string]string{"l": "v"},
			CPU:    "1", Memory: "1Gi", TimeoutSeconds: 5, Retries: 2, Image: "alpine",
		},
		Files: []job.File{{Name: "a.py", Size: 8}, {Name: "b"}, {Name: "c", Size: 7}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(saver{"a.py": "print(1)", "b": "", "c": "\r\n--x\r\n"}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestDefaults keeps what the form does not say, and shares nothing with it.
func TestDefaults(t *testing.T) {
	defaults := job.Spec{Args: make([]string, 1, 9), TTLSecondsAfterFinished: 60}
	defaults.Args[0] = "kept"
	body := encode(t, "runtime=python", "entrypoint=a", "@a=", "arg=more")
	for range 2 {
		got, err := form.NewReader(limits()).Read(request(t.Context(), body), defaults, saver{}.save)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"kept", "more"}; !slices.Equal(got.Spec.Args, want) || got.Spec.TTLSecondsAfterFinished != 60 {
			t.Errorf("got %+v, want the arguments %q and the time to live 60", got.Spec, want)
		}
	}
}

// TestStorageFails hands on what the storage says, and tells it from what is wrong with the form.
func TestStorageFails(t *testing.T) {
	body := encode(t, "@a=x", "runtime=python", "entrypoint=a")
	for name, test := range map[string]struct{ err, want error }{
		"full":          {fmt.Errorf("put: %w", job.ErrExhausted), job.ErrExhausted},
		"away":          {fmt.Errorf("put: %w", job.ErrUnavailable), job.ErrUnavailable},
		"any other":     {io.ErrShortWrite, io.ErrShortWrite},
		"name too long": {fmt.Errorf("put: %w", job.ErrInvalid), job.ErrInvalid},
	} {
		_, err := form.NewReader(limits()).Read(request(t.Context(), body), job.Spec{},
			func(context.Context, string, io.Reader) (job.File, error) {
				return job.File{}, test.err
			})
		var faults *job.Faults
		if !errors.Is(err, test.want) || errors.As(err, &faults) != errors.Is(test.want, job.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzRead sends bodies of all kinds. What is accepted must be within every limit, and what is
// refused must be refused in a way that its sender can act on.
func FuzzRead(f *testing.F) {
	f.Add(encode(f, "runtime=python", "entrypoint=a", "@a=x", `args=["b"]`, `env={"A":"b"}`, "arg=c"))
	f.Add(encode(f, "@a=x", "@a=y", "runtime=python"))
	f.Add(encode(f, "@../a=x", "retries=-1", "cpu=1e309", "labels={}"))
	f.Add("--" + boundary + "\r\nContent-Disposition: form-data; name=\"files\"; filename*=UTF-8''%2e%2e\r\n\r\nx\r\n--" +
		boundary + "--")
	f.Add("--" + boundary + "\r\n\r\n--" + boundary + "--\r\n")
	f.Add("")
	reader := form.NewReader(limits())
	f.Fuzz(func(t *testing.T, body string) {
		files := saver{}
		got, err := reader.Read(request(t.Context(), body), job.Spec{}, files.save)
		if err != nil {
			refusal := httptest.NewRecorder()
			api.WriteError(refusal, request(t.Context(), ""), nil, err) // panics on what it would have to log: a fault of ours
			if refusal.Code < 400 || refusal.Code >= 500 {
				t.Errorf("%q: status %d: %v", body, refusal.Code, err)
			}
			return
		}
		l := limits()
		if n := len(got.Files); n == 0 || n > l.Files || n != len(files) {
			t.Errorf("%q: %d files, %d of them stored", body, n, len(files))
		}
		for name := range files {
			if message := job.CheckFileName(name, l.NameBytes); message != "" {
				t.Errorf("%q: file %q was stored: %s", body, name, message)
			}
		}
		if err := got.Spec.Validate(); err != nil {
			t.Errorf("%q: a job that is not valid: %v", body, err)
		}
	})
}

// FuzzFields compares what is made of JSON with what encoding/json makes of it.
func FuzzFields(f *testing.F) {
	f.Add(`["a","b"]`, `{"A":"b"}`)
	f.Add(`["\ud83d\ude00","\\ud800"]`, `{"A":"1","B":""}`)
	f.Add(`["\ud800"]`, `{"A":"1","A":"2"}`)
	f.Add(`[null]`, `{"A":null}`)
	f.Add(` [ ] `, "{}\n")
	reader := form.NewReader(form.Limits{TotalBytes: 1 << 30, FieldBytes: 1 << 20, Files: 1, NameBytes: 50})
	f.Fuzz(func(t *testing.T, args, env string) {
		body := encode(t, "runtime=python", "entrypoint=a", "@a=", "args="+args, "env="+env)
		if strings.Contains(args+env, boundary) {
			t.Skip()
		}
		got, err := reader.Read(request(t.Context(), body), job.Spec{}, saver{}.save)
		if err != nil {
			if !errors.Is(err, job.ErrInvalid) && !errors.Is(err, job.ErrTooLarge) {
				t.Errorf("%q %q: %v", args, env, err)
			}
			return
		}
		var wantArgs []string
		var wantEnv map[string]string
		if err := errors.Join(json.Unmarshal([]byte(args), &wantArgs), json.Unmarshal([]byte(env), &wantEnv)); err != nil {
			t.Fatalf("%q %q was accepted: %v", args, env, err)
		}
		if !slices.Equal(got.Spec.Args, wantArgs) || !maps.Equal(got.Spec.Env, wantEnv) {
			t.Errorf("%q %q: got %q and %q, want %q and %q", args, env, got.Spec.Args, got.Spec.Env, wantArgs, wantEnv)
		}
	})
}
