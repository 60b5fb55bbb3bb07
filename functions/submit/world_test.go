package submit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// world is a server with the functions submit and status over a directory.
type world struct {
	t        testing.TB
	dir      string
	store    *store.Store
	ledger   *ledger.Ledger
	keys     token.Keys
	sink     *sink
	server   *httptest.Server
	finished chan struct{} // a value for each request whose handler has returned
}

const key = "0123456789abcdef0123456789abcdef"

func settings() submit.Settings {
	return submit.Settings{
		MaxUpload: 4 << 30, MaxField: 1 << 20, MaxFiles: 100, MaxName: 200, MinFree: 256 << 20,
		UploadTimeout: time.Hour, DefaultTTL: 86400,
		EventTypes: []string{"*"}, EventSources: []string{"*"}, MaxEvent: 4 << 20, MaxChained: 1000,
	}
}

// open returns the function as its command does.
func open(env *platform.Env) (*submit.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, err
	}
	return submit.New(submit.Deps{Env: env, Events: events, Admission: backend.AnyRuntime{}})
}

func newWorld(t testing.TB, options ...func(*submit.Deps)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), sink: &sink{}, finished: make(chan struct{}, 1000)}
	w.mount(options...)
	return w
}

// remount starts the server anew over what is stored.
func (w *world) remount(options ...func(*submit.Deps)) {
	w.server.Close()
	w.mount(options...)
}

func (w *world) mount(options ...func(*submit.Deps)) {
	w.t.Helper()
	t := w.t
	var err error
	if w.store, err = store.OpenDir(w.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	if w.keys, err = token.New([]byte(key)); err != nil {
		t.Fatal(err)
	}
	env := platform.New(map[string]string{
		"NAMESPACE": "here", "ORCH_BASE_URL": "http://jobs.example", "MIN_FREE_BYTES": "1Mi",
	}, slog.New(slog.DiscardHandler))
	env.SetStore(w.store)
	env.SetKeys(w.keys)
	d := submit.Deps{Env: env, Events: &event.Events{Sink: w.sink}, Admission: place{}}
	for _, option := range options {
		option(&d)
	}
	w.ledger = ledger.New(w.store, env.Now)
	d.Events.Ledger = w.ledger
	router := api.NewRouter(env.Log)
	f, err := submit.New(d)
	if err != nil {
		t.Fatal(err)
	}
	f.Mount(router)
	s, err := status.New(status.Deps{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	s.Mount(router)
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() { w.finished <- struct{}{} }()
		router.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.server.Close)
}

// place is a place to run jobs at.
type place struct {
	full  bool
	check func(*job.Spec) error
}

func (p place) Admit() (func(), error) {
	if p.full {
		return nil, job.Refuse(job.ErrUnavailable, "", "the queue is full: 3 jobs wait (MAX_QUEUED_JOBS); try again when "+
			"some have run")
	}
	return func() {}, nil
}

func (p place) Check(s *job.Spec) error {
	if p.check == nil {
		return nil
	}
	return p.check(s)
}

// sink keeps the events that it is sent.
type sink struct {
	mu     sync.Mutex
	events []cloudevent.Event
	err    error
}

func (s *sink) Send(_ context.Context, e cloudevent.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return s.err
}

func (s *sink) sent() []cloudevent.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// tree lists what is stored: all files and folders.
func (w *world) tree() []string {
	w.t.Helper()
	list := []string{}
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != w.dir {
			name := strings.TrimPrefix(path, w.dir+"/")
			if d.IsDir() {
				name += "/"
			}
			list = append(list, name)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// wantNothing fails unless the storage directory is as empty as at the beginning.
func (w *world) wantNothing() {
	w.t.Helper()
	if diff := cmp.Diff([]string{}, w.tree()); diff != "" {
		w.t.Errorf("left in the storage directory (-want +got):\n%s", diff)
	}
}

// part is one part of a form, as raw as it can be.
type part struct{ header, body string }

const boundary = "bOuNdArY"

func field(name, value string) part {
	return part{`Content-Disposition: form-data; name="` + name + `"`, value}
}

func file(name, content string) part {
	return part{`Content-Disposition: form-data; name="files"; filename="` + name + `"`, content}
}

func encode(parts ...part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--" + boundary + "\r\n" + p.header + "\r\n\r\n" + p.body + "\r\n")
	}
	return b.String() + "--" + boundary + "--\r\n"
}

// script is the least that makes a job, and more.
func script(more ...part) []part {
	return append([]part{field("runtime", "python"), field("entrypoint", "a.py"), file("a.py", "print(1)\n")}, more...)
}

const contentType = "multipart/form-data; boundary=" + boundary

// reply is an answer that was read to its end.
type reply struct {
	*http.Response
	body []byte
}

func (w *world) request(body io.Reader, header http.Header) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+"/api/v1/jobs", body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for name, values := range header {
		r.Header[name] = values
	}
	return r
}

func (w *world) do(r *http.Request) reply {
	w.t.Helper()
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.read(got)
}

func (w *world) read(got *http.Response) reply {
	w.t.Helper()
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{got, body}
}

func (w *world) post(parts ...part) reply {
	w.t.Helper()
	return w.do(w.request(strings.NewReader(encode(parts...)), nil))
}

// accepted is the answer to a submit.
type accepted struct {
	JobID     job.ID    `json:"jobID"`
	JobName   string    `json:"jobName"`
	Namespace string    `json:"namespace"`
	Token     string    `json:"token"`
	Phase     job.Phase `json:"phase"`
	CreatedAt time.Time `json:"createdAt"`
}

func (w *world) accepted(got reply) accepted {
	w.t.Helper()
	if got.StatusCode != http.StatusCreated {
		w.t.Fatalf("got %s, want 201: %s", got.Status, got.body)
	}
	var a accepted
	d := json.NewDecoder(bytes.NewReader(got.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		w.t.Fatal(err)
	}
	if want := "/api/v1/jobs/" + string(a.JobID); got.Header.Get("Location") != want {
		w.t.Errorf("Location: got %q, want %q", got.Header.Get("Location"), want)
	}
	return a
}

func (w *world) index(id job.ID) *job.Index {
	w.t.Helper()
	index, err := w.ledger.Index(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return index
}

// problem checks that an error is one as users are promised them.
func (w *world) problem(got reply, status int) api.Problem {
	w.t.Helper()
	if got.StatusCode != status {
		w.t.Fatalf("got %s, want %d: %.500s", got.Status, status, got.body)
	}
	if ct := got.Header.Get("Content-Type"); ct != "application/problem+json" {
		w.t.Errorf("Content-Type: got %q", ct)
	}
	var p api.Problem
	if err := json.Unmarshal(got.body, &p); err != nil {
		w.t.Fatalf("%v: %s", err, got.body)
	}
	if p.Status != status || p.Title != http.StatusText(status) || p.Type == "" || p.Detail == "" {
		w.t.Errorf("problem: got %+v", p)
	}
	return p
}
