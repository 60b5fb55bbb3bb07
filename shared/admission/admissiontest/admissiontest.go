// Package admissiontest is a server over a directory, for tests of the functions by which jobs come
// in, and of their admission.
package admissiontest

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// Server is a server over a directory.
type Server struct {
	T        testing.TB
	Dir      string
	Store    *store.Store
	Ledger   *ledger.Ledger
	Keys     token.Keys
	Sink     *Sink
	Deps     admission.Deps
	HTTP     *httptest.Server
	Finished chan struct{} // a value for each request whose handler has returned

	open []Opener
}

// Opener opens a function of the server.
type Opener func(admission.Deps) (serve.Function, error)

// Option changes what a server is made of.
type Option func(*admission.Deps)

// Setting is a setting of the server.
func Setting(name, value string) Option {
	return func(d *admission.Deps) { d.Env.Vars[name] = value }
}

// Key is the server's key of tokens.
const Key = "0123456789abcdef0123456789abcdef"

// New starts a server of functions.
func New(t testing.TB, open []Opener, options ...Option) *Server {
	t.Helper()
	s := &Server{T: t, Dir: t.TempDir(), Sink: &Sink{}, Finished: make(chan struct{}, 1000), open: open}
	s.mount(options...)
	return s
}

// Restart starts the server anew over what is stored.
func (s *Server) Restart(options ...Option) {
	s.HTTP.Close()
	s.mount(options...)
}

func (s *Server) mount(options ...Option) {
	t := s.T
	t.Helper()
	var err error
	if s.Store, err = store.OpenDir(s.Dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Store.Close() })
	if s.Keys, err = token.New([]byte(Key)); err != nil {
		t.Fatal(err)
	}
	env := platform.New(map[string]string{
		"NAMESPACE": "here", "ORCH_BASE_URL": "http://jobs.example", "MIN_FREE_BYTES": "1Mi",
	}, slog.New(slog.DiscardHandler))
	env.SetStore(s.Store)
	env.SetKeys(s.Keys)
	s.Deps = admission.Deps{Env: env, Events: &event.Events{Sink: s.Sink}, Backend: Backend{}}
	for _, option := range options {
		option(&s.Deps)
	}
	s.Ledger = ledger.New(s.Store, env.Now)
	s.Deps.Events.Ledger = s.Ledger
	router := api.NewRouter(env.Log).Guarded(guardtest.New(s.Keys, s.Ledger))
	for _, open := range s.open {
		f, err := open(s.Deps)
		if err != nil {
			t.Fatal(err)
		}
		f.Mount(router)
	}
	s.HTTP = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { s.Finished <- struct{}{} }()
		router.ServeHTTP(w, r)
	}))
	t.Cleanup(s.HTTP.Close)
}

// Controller is one that admits jobs to what the server has stored.
func (s *Server) Controller() *admission.Controller {
	s.T.Helper()
	c, err := admission.New(s.Deps)
	if err != nil {
		s.T.Fatal(err)
	}
	return c
}

// Backend is what would run the jobs.
type Backend struct {
	Full  bool
	Fault func(*job.Spec) error // nil: there is none
}

// Admit implements backend.Admission.
func (b Backend) Admit() (func(), error) {
	if b.Full {
		return nil, job.Refuse(job.ErrUnavailable, "", "the queue is full: 3 jobs wait (MAX_QUEUED_JOBS); try again when "+
			"some have run")
	}
	return func() {}, nil
}

// Check implements backend.Admission.
func (b Backend) Check(s *job.Spec) error {
	if b.Fault == nil {
		return nil
	}
	return b.Fault(s)
}

// On is a server whose jobs run on a backend.
func On(b Backend) Option { return func(d *admission.Deps) { d.Backend = b } }

// Refusing is a backend that finds a field of each job wrong.
func Refusing(field, message string) Option {
	return On(Backend{Fault: func(*job.Spec) error { return job.Invalid(field, message) }})
}

// Sink keeps the events that it is sent.
type Sink struct {
	Err error // that it answers with

	mu     sync.Mutex
	events []cloudevent.Event
}

// Send implements event.Sink.
func (s *Sink) Send(_ context.Context, e cloudevent.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return s.Err
}

// Sent are the events that were sent.
func (s *Sink) Sent() []cloudevent.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// Tree lists what is stored: all files and folders.
func (s *Server) Tree() []string {
	s.T.Helper()
	list := []string{}
	err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != s.Dir {
			name := strings.TrimPrefix(path, s.Dir+"/")
			if d.IsDir() {
				name += "/"
			}
			list = append(list, name)
		}
		return nil
	})
	if err != nil {
		s.T.Fatal(err)
	}
	return list
}

// WantNothing fails unless the directory is as empty as at the beginning.
func (s *Server) WantNothing() {
	s.T.Helper()
	if diff := cmp.Diff([]string{}, s.Tree()); diff != "" {
		s.T.Errorf("left in the storage directory (-want +got):\n%s", diff)
	}
}

// Jobs lists the IDs of all jobs.
func (s *Server) Jobs() []job.ID {
	s.T.Helper()
	page, err := s.Ledger.List(s.T.Context(), ledger.Query{Limit: 500})
	if err != nil {
		s.T.Fatal(err)
	}
	var ids []job.ID
	for _, one := range page.Items {
		ids = append(ids, one.JobID)
	}
	return ids
}

// Index is the record of a job.
func (s *Server) Index(id job.ID) *job.Index {
	s.T.Helper()
	index, err := s.Ledger.Index(s.T.Context(), id)
	if err != nil {
		s.T.Fatal(err)
	}
	return index
}

// File reads a file of a job from the bucket.
func (s *Server) File(id job.ID, name string) string {
	s.T.Helper()
	r, err := s.Store.Open(s.T.Context(), ledger.FileKey(id, name), 0, -1)
	if err != nil {
		s.T.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		s.T.Fatal(err)
	}
	return string(data)
}

// Finish ends a job well.
func (s *Server) Finish(id job.ID) {
	s.T.Helper()
	_, _, err := s.Ledger.Finish(s.T.Context(), s.Index(id),
		job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: s.Deps.Env.Now()})
	if err != nil {
		s.T.Fatal(err)
	}
}

// Remove removes a job that is over.
func (s *Server) Remove(id job.ID) {
	s.T.Helper()
	if err := s.Ledger.Remove(s.T.Context(), id); err != nil {
		s.T.Fatal(err)
	}
}
