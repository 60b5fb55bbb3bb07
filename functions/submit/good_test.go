package submit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/token"
)

// oddArgs are arguments that something on the way might take for something else.
func oddArgs() []string {
	return []string{
		"", " ", "$(X)", "$$(X)", "${HOME}", "`id`", "a\nb", "a\r\nb", "\t", `"`, `'`, `\`, `\"`, `\u0041`, "<&>",
		"ä€😀\u200b\ufffd", "\u2028",
		"--", "-rf", "*", "~", "%s%n", "a,b", "\x01\x7f", "]", `["x"]`, "--" + boundary,
	}
}

func TestEveryField(t *testing.T) {
	args, err := json.Marshal(oddArgs())
	if err != nil {
		t.Fatal(err)
	}
	fields := []part{
		field("runtime", "python"), field("entrypoint", "a b.py"), field("args", string(args)), field("arg", ""),
		field("arg", "last $(X)\n"),
		field("env", `{"A":"1 \"2\"\n","lower.case-1":"","EMPTY":"","PATHS":"$(A)"}`),
		field("labels", `{"team":"data","example.com/stage":""}`),
		field("image", "registry.example:5000/python@sha256:0123"), field("cpu", "500m"), field("memory", "1.5Gi"),
		field("timeoutSeconds", "1"), field("ttlSecondsAfterFinished", "0"), field("retries", "100"),
	}
	contents := []part{file("a b.py", "print(1)\n"), file("data.bin", "\x00\xff")}
	want := job.Spec{
		Runtime: "python", Entrypoint: "a b.py", Args: append(oddArgs(), "", "last $(X)\n"),
		Env:    map[string]string{"A": "1 \"2\"\n", "lower.case-1": "", "EMPTY": "", "PATHS": "$(A)"},
		Labels: map[string]string{"team": "data", "example.com/stage": ""},
		Image:  "registry.example:5000/python@sha256:0123", CPU: "500m", Memory: "1.5Gi", TimeoutSeconds: 1, Retries: 100,
	}
	backwards := slices.Clone(fields)
	slices.Reverse(backwards)
	swap := func(list []part) []part { // the two "arg" keep their order
		i := slices.IndexFunc(list, func(p part) bool { return p.header == fields[3].header })
		list[i], list[i+1] = list[i+1], list[i]
		return list
	}
	for name, parts := range map[string][]part{
		"before the files":  slices.Concat(fields, contents),
		"after the files":   slices.Concat(contents, fields),
		"between the files": slices.Concat(contents[:1], fields, contents[1:]),
		"backwards":         slices.Concat(contents, swap(backwards)),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.accepted(w.post(parts...))
			index := w.index(a.JobID)
			if diff := cmp.Diff(want, index.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			files := []job.File{described("a b.py", "print(1)\n"), described("data.bin", "\x00\xff")}
			if diff := cmp.Diff(files, index.Files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if a.JobName != "run-"+string(a.JobID) || a.Namespace != "here" || a.Phase != job.Pending ||
				!a.CreatedAt.Equal(index.CreatedAt) {
				t.Errorf("answer: got %+v", a)
			}
		})
	}
}

func described(name, content string) job.File {
	sum := sha256.Sum256([]byte(content))
	return job.File{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

func TestDefaults(t *testing.T) {
	w := newWorld(t)
	a := w.accepted(w.post(script()...))
	want := job.Spec{Runtime: "python", Entrypoint: "a.py", Args: []string{}, TTLSecondsAfterFinished: 86400}
	if diff := cmp.Diff(want, w.index(a.JobID).Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	stored, err := os.ReadFile(filepath.Join(w.dir, string(a.JobID), job.IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(stored, []byte(`"args":[]`)) {
		t.Errorf("index.json: got %s, want an empty list of arguments in it", stored)
	}
}

// TestGoodFiles stores contents that a form reader could stumble over.
func TestGoodFiles(t *testing.T) {
	noise := make([]byte, 1<<20+1)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{
		"empty":       "",
		"CRLF":        "\r\n",
		"line breaks": "\r\n\r\n\n\r\r\n",
		"dashes":      "--",
		"boundary-like": "\r\n--" + boundary[:len(boundary)-1] + "\r\n--" + boundary[:4] + "\r\n --" + boundary +
			"--\r\n",
		"boundary inside a line":  "x--" + boundary + "--\r\n\n--x" + boundary,
		"boundary after LF":       "x\n--" + boundary + "--\n",
		"boundary with a tail":    "x\r\n--" + boundary + "x\r\n",
		"almost the boundary end": "x\r\n--" + boundary + "-",
		"NUL":                     strings.Repeat("\x00", 5000),
		"noise":                   string(noise),
		"buffer":                  strings.Repeat("b", 256<<10),
		"buffer and CR":           strings.Repeat("b", 256<<10-1) + "\r",
		"names.attrs":             "a",
		"names.attrs~":            "b",
		"x.tmp":                   "c",
		".hidden":                 "d",
		" ":                       "a space",
		"...":                     "dots",
		"%2e%2e%2fx":              "not decoded",
		"ä€😀":                     "runes",
		"a:b*c?d<e>f|g":           "specials",
		strings.Repeat("n", 200):  "long",
		"INDEX.JSON":              "not ours",
		"index.json.bak":          "not ours",
		"-rf":                     "an option",
		"token.key":               "not ours",
		"script":                  "#!/bin/sh\n",
		"program":                 "\x7fELF\x02",
	}
	w := newWorld(t)
	parts := []part{field("runtime", "binary"), field("entrypoint", "-rf")}
	want := map[string]job.File{}
	for name, content := range contents {
		parts = append(parts, file(name, content))
		want[name] = described(name, content)
	}
	for _, name := range []string{"-rf", "script", "program"} { // the entrypoint, and what says so itself
		f := want[name]
		f.Mode = "0755"
		want[name] = f
	}
	a := w.accepted(w.post(parts...))
	got := map[string]job.File{}
	for _, f := range w.index(a.JobID).Files {
		got[f.Name] = f
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, content := range contents {
		stored, err := w.store.Read(t.Context(), string(a.JobID)+"/"+name)
		if err != nil || string(stored) != content {
			t.Errorf("%q: stored other %d bytes than the %d sent (%v)", name, len(stored), len(content), err)
		}
	}
}

// TestGoodParts are parts that are written in another way than ours.
func TestGoodParts(t *testing.T) {
	for name, test := range map[string]struct{ header, file, content string }{
		"8bit": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"\r\nContent-Transfer-Encoding: 8bit", "b",
			"=3D"},
		"nested multipart": {
			"Content-Disposition: form-data; name=\"files\"; filename=\"b\"\r\nContent-Type: multipart/mixed; boundary=inner",
			"b",
			"--inner\r\nContent-Disposition: file; filename=\"c\"\r\n\r\nx\r\n--inner--",
		},
		"compressed": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"\r\nContent-Encoding: gzip",
			"b", "\x1f\x8b"},
		"tokens":     {"Content-Disposition: form-data; name=files; filename=b", "b", "x"},
		"lower case": {"content-disposition: form-data; name=\"files\"; filename=\"b\"", "b", "x"},
		"upper case": {"CONTENT-DISPOSITION: FORM-DATA; NAME=\"files\"; FILENAME=\"b\"", "b", "x"},
		"extended": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"; " +
			"filename*=UTF-8''%e2%82%ac%20b", "€ b", "x"},
		"escaped quote":     {`Content-Disposition: form-data; name="files"; filename="b\"c"`, `b"c`, "x"},
		"a browser's quote": {`Content-Disposition: form-data; name="files"; filename="b%22c"`, `b"c`, "x"},
		"continued": {"Content-Disposition: form-data; name=\"files\"; filename*0=\"b\"; filename*1=\"c\"", "bc",
			"x"},
		"folded": {"Content-Disposition: form-data;\r\n name=\"files\";\r\n filename=\"b\"", "b", "x"},
		"many other headers": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"" +
			strings.Repeat("\r\nX: y", 100), "b", "x"},
		"spaces around things": {"Content-Disposition:   form-data ; name=\"files\" ; filename=\"b\"  ", "b", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.accepted(w.post(script(part{test.header, test.content})...))
			if diff := cmp.Diff(described(test.file, test.content), w.index(a.JobID).Files[1]); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGoodBodies are forms around which there is more, or less, than usual.
func TestGoodBodies(t *testing.T) {
	whole := encode(script()...)
	for name, test := range map[string]struct {
		body   string
		header http.Header
	}{
		"no last line break":   {strings.TrimSuffix(whole, "\r\n"), nil},
		"preamble":             {"This is a form.\r\n\r\n" + whole, nil},
		"epilogue":             {whole + "That was a form.", nil},
		"space after boundary": {strings.ReplaceAll(whole, boundary+"\r\n", boundary+" \t\r\n"), nil},
		"LF only":              {strings.ReplaceAll(whole, "\r\n", "\n"), nil},
		"quoted boundary":      {whole, http.Header{"Content-Type": {`multipart/form-data; boundary="` + boundary + `"`}}},
		"upper case type":      {whole, http.Header{"Content-Type": {`Multipart/Form-Data; Boundary=` + boundary}}},
		"other parameters":     {whole, http.Header{"Content-Type": {contentType + "; charset=utf-8"}}},
		"70 characters": {strings.ReplaceAll(whole, boundary, strings.Repeat("b", 70)),
			http.Header{"Content-Type": {"multipart/form-data; boundary=" + strings.Repeat("b", 70)}}},
		"one character": {strings.ReplaceAll(whole, boundary, "Q"),
			http.Header{"Content-Type": {"multipart/form-data; boundary=Q"}}},
		"identity coding":       {whole, http.Header{"Content-Encoding": {"identity"}}},
		"a key of all that may": {whole, http.Header{"Idempotency-Key": {strings.Repeat("/..\\%2e$é", 20)}}},
		"a key of 255":          {whole, http.Header{"Idempotency-Key": {strings.Repeat("k", 255)}}},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chunked=%t", name, chunked), func(t *testing.T) {
				w := newWorld(t)
				var body io.Reader = strings.NewReader(test.body)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				a := w.accepted(w.do(w.request(body, test.header)))
				if got := w.index(a.JobID); len(got.Files) != 1 || got.Entrypoint != "a.py" {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

func TestHundredFiles(t *testing.T) {
	w := newWorld(t)
	a := w.accepted(w.post(append(files(99), script()...)...))
	index := w.index(a.JobID)
	if len(index.Files) != 100 || index.Files[98] != described("f98", "x") {
		t.Errorf("files: got %d, %+v", len(index.Files), index.Files[98])
	}
}

func TestBoundsAreInclusive(t *testing.T) {
	w := newWorld(t)
	w.accepted(w.post(script(
		field("cpu", "1m"), field("memory", "1Mi"), field("timeoutSeconds", "315360000"),
		field("ttlSecondsAfterFinished", "0315360000"), field("retries", "0"),
		field("arg", strings.Repeat("a", job.MaxArgBytes)), field("env", `{"`+strings.Repeat("A", 256)+`":""}`),
		field("args", "[]"+strings.Repeat(" ", 1<<20-2)),
	)...))
	w.accepted(w.post(script(field("cpu", "1e3"), field("memory", "1Pi"), field("labels", "{}"), field("env", "{}"),
		field("image", ""))...))
	w.accepted(w.post(script(slices.Repeat([]part{field("arg", "x")}, 9_998)...)...))
}

// TestToken follows the token: it opens the job, and is stored nowhere.
func TestToken(t *testing.T) {
	w := newWorld(t)
	body := encode(script()...)
	a := w.accepted(w.do(w.request(strings.NewReader(body), http.Header{"Idempotency-Key": {"my-own-secret-key"}})))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/api/v1/jobs/"+string(a.JobID), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.do(r); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("status without token: got %s", got.Status)
	}
	r.Header.Set("Authorization", "Bearer "+a.Token)
	got := w.do(r)
	if got.StatusCode != http.StatusOK || bytes.Contains(got.body, []byte(a.Token)) {
		t.Errorf("status: got %s: %s", got.Status, got.body)
	}
	if index := w.index(a.JobID); index.Token != token.Hash(a.Token) {
		t.Errorf("index.json: got %q", index.Token)
	}
	agent := w.keys.Derive(token.Agent, a.JobID)
	for _, name := range w.tree() {
		content := []byte{}
		if !strings.HasSuffix(name, "/") {
			if content, err = os.ReadFile(filepath.Join(w.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, secret := range []string{a.Token, agent, "my-own-secret-key", key} {
			if strings.Contains(name, secret) || bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s has the secret %q", name, secret)
			}
		}
		if strings.HasSuffix(name, job.IndexFile) != bytes.Contains(content, []byte(token.Hash(a.Token))) {
			t.Errorf("%s: the token's hash belongs in index.json and nowhere else", name)
		}
	}
}

func TestEvent(t *testing.T) {
	w := newWorld(t)
	a := w.accepted(w.post(script()...))
	sent := w.sink.sent()
	if len(sent) != 1 {
		t.Fatalf("got %d events", len(sent))
	}
	e := sent[0]
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	if e.Type() != "io.github.go-job-orchestrator.job.submitted.v1" || e.Subject() != string(a.JobID) ||
		e.Source() != "http://jobs.example" {
		t.Errorf("event: got %s", e)
	}
	if id, err := event.JobID(e); id != a.JobID || err != nil {
		t.Errorf("job of the event: got %s, %v", id, err)
	}
	if strings.Contains(e.String(), a.Token) {
		t.Error("the event has the token")
	}
}

func TestFailingSink(t *testing.T) {
	w := newWorld(t)
	w.sink.err = errors.New("away")
	a := w.accepted(w.post(script()...))
	w.index(a.JobID)
}

// TestHangingSink gets its answer while the sink still has the event.
func TestHangingSink(t *testing.T) {
	hanging := &stuck{entered: make(chan struct{}), leave: make(chan struct{})}
	background := event.NewAsyncSink(hanging, slog.New(slog.DiscardHandler))
	w := newWorld(t, func(d *submit.Deps) { d.Events.Sink = background })
	a := w.accepted(w.post(script()...))
	<-hanging.entered
	w.index(a.JobID)
	if err := hanging.ctx.Err(); err != nil {
		t.Errorf("the delivery ended with the request: %v", err)
	}
	close(hanging.leave)
	background.Drain()
}

type stuck struct {
	ctx            context.Context
	entered, leave chan struct{}
}

func (s *stuck) Send(ctx context.Context, _ cloudevent.Event) error {
	s.ctx = ctx
	close(s.entered)
	<-s.leave
	return errors.New("away")
}

// TestOrder demands that the index is there before the launcher is told, and that the place in the
// queue is kept until then.
func TestOrder(t *testing.T) {
	var w *world
	p := &counting{}
	told := false
	w = newWorld(t, func(d *submit.Deps) {
		d.Admission = p
		d.Events.Sink = sinkFunc(func(e cloudevent.Event) error {
			told = true
			if _, err := w.ledger.Index(t.Context(), job.ID(e.Subject())); err != nil {
				t.Errorf("told of a job that is not there: %v", err)
			}
			if p.places != 1 {
				t.Errorf("%d places are kept while the launcher is told, want 1", p.places)
			}
			return nil
		})
	})
	w.accepted(w.post(script()...))
	if !told || p.places != 0 {
		t.Errorf("told: %t, places: %d", told, p.places)
	}
	w.problem(w.post(script(field("cpu", "x"))...), http.StatusUnprocessableEntity)
	if p.places != 0 {
		t.Errorf("places after a refusal: %d", p.places)
	}
}

type counting struct{ places int }

func (c *counting) Admit() (func(), error) {
	c.places++
	return func() { c.places-- }, nil
}

func (c *counting) Check(*job.Spec) error { return nil }

type sinkFunc func(e cloudevent.Event) error

func (f sinkFunc) Send(_ context.Context, e cloudevent.Event) error { return f(e) }

// TestOpen reads settings, and names all that are wrong before anything is served.
func TestOpen(t *testing.T) {
	vars := map[string]string{"STORAGE_DIR": t.TempDir(), "TOKEN_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"K_SINK": "http://localhost:1"}
	f, err := open(platform.New(vars, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	want := settings()
	want.MinFree = 256 << 20
	if diff := cmp.Diff(want, *submit.SettingsOf(f)); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{
		"DEFAULT_TTL_SECONDS": "-1", "UPLOAD_TIMEOUT": "0s", "MAX_FILES": "0", "MAX_NAME_BYTES": "0",
		"MAX_UPLOAD_BYTES": "many", "MAX_FIELD_BYTES": "x", "MIN_FREE_BYTES": "-1Gi", "MAX_EVENT_BYTES": "0",
		"TOKEN_KEYS": "", "K_SINK": "", "STORAGE_DIR": "/dev/null/x",
	} {
		bad := map[string]string{}
		for k, v := range vars {
			bad[k] = v
		}
		bad[name] = value
		_, err := open(platform.New(bad, slog.New(slog.DiscardHandler)))
		if err == nil || !mentions(err, name) {
			t.Errorf("%s=%s: got error %v", name, value, err)
		}
	}
}

// mentions looks for a setting by its name or that of its field, which is how the settings package
// names it.
func mentions(err error, name string) bool {
	inField := map[string]string{"MAX_UPLOAD_BYTES": "MaxUpload", "MAX_FIELD_BYTES": "MaxField",
		"MIN_FREE_BYTES": "MinFree"}
	return strings.Contains(err.Error(), name) || inField[name] != "" && strings.Contains(err.Error(), inField[name])
}
