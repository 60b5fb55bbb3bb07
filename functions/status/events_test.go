package status_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/token"
)

// life is one job whose state the test sets.
type life struct {
	mu    sync.Mutex
	now   job.Status
	err   error
	looks int
	bell  chan struct{}
	watch int // how many watch it
}

func (l *life) Watch(job.ID) (<-chan struct{}, func()) {
	add := func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.watch += n
	}
	add(1)
	return l.bell, func() { add(-1) }
}

func (l *life) Status(context.Context, job.ID) (*job.Status, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks++
	s := l.now
	return &s, l.err
}

func (l *life) List(context.Context, ledger.Query) (ledger.Page, error) { return ledger.Page{}, nil }

func (l *life) IDs(context.Context, ledger.Query) ([]job.ID, error) { return []job.ID{lifeID}, nil }

func (l *life) Summary(ctx context.Context, id job.ID) (*job.Summary, error) {
	s, err := l.Status(ctx, id)
	if err != nil {
		return nil, err
	}
	return &s.Summary, nil
}

func (l *life) WatchAll() (<-chan struct{}, func()) { return l.Watch(lifeID) }

func (l *life) set(change func(*job.Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.now)
}

const lifeID job.ID = "fe6aa1b2c3d4000102030405060708ff"

func newLife() *life {
	return &life{now: job.Status{Summary: job.Summary{JobID: lifeID, Phase: job.Pending, Reason: job.ReasonQueued},
		Args: []string{}, Attempts: []job.Attempt{}}}
}

func (l *life) begin() {
	l.set(func(s *job.Status) {
		at := time.Now().UTC()
		s.Phase, s.Reason, s.StartedAt, s.Attempts = job.Running, "", &at, []job.Attempt{{Number: 1, StartedAt: at}}
	})
}

func (l *life) end(p job.Phase) {
	l.set(func(s *job.Status) { s.Phase, s.Reason = p, job.ReasonError })
}

// serve serves the job as processes do, and returns the URL, the credentials and what stops the
// server.
func (l *life) serve(t *testing.T) (url, auth string, stop func()) {
	t.Helper()
	router, auth := l.route(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- (&api.Server{Log: slog.New(slog.DiscardHandler), Wait: time.Minute, Drain: func() {},
			MaxConnections: 1000}).Serve(ctx, ln, router)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return "http://" + ln.Addr().String() + "/api/v1/jobs/" + string(lifeID), auth, stop
}

// mount routes the function over these records.
func mount(t testing.TB, r *api.Router, records status.Records, keys token.Keys, o status.Observer, log *slog.Logger) {
	t.Helper()
	env := platform.New(nil, log)
	env.SetKeys(keys)
	f, err := status.New(status.Deps{Env: env, Records: records, Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	f.Mount(r)
}

// route returns the function over the job, and the credentials.
func (l *life) route(t *testing.T) (router *api.Router, auth string) {
	t.Helper()
	keys, err := token.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	router = api.NewRouter(log).Guarded(guardtest.New(keys, nil))
	mount(t, router, l, keys, nil, log)
	return router, "Bearer " + keys.Derive(token.User, lifeID)
}

func get(t testing.TB, url string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { got.Body.Close() })
	return got
}

// sse is one server-sent event.
type sse struct {
	id    string
	phase job.Phase
}

// next reads one event from a stream, or returns false at its end.
func next(t *testing.T, r *bufio.Reader) (e sse, ok bool) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			return e, false
		}
		if err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "data":
			var s job.Status
			if err := json.Unmarshal([]byte(value), &s); err != nil {
				t.Fatal(err)
			}
			e.phase = s.Phase
		case "":
			if e.id != "" {
				return e, true
			}
		}
	}
}

func TestEventStream(t *testing.T) {
	l := newLife()
	url, auth, _ := l.serve(t)
	got := get(t, url+"/events", "Authorization", auth)
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "text/event-stream" ||
		got.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %s with %v", got.Status, got.Header)
	}
	r := bufio.NewReader(got.Body)
	var seen []sse
	want := func(phase job.Phase) {
		t.Helper()
		e, ok := next(t, r)
		if !ok || e.phase != phase {
			t.Fatalf("got %+v, %v; want %s", e, ok, phase)
		}
		seen = append(seen, e)
	}
	want(job.Pending) // it is there before anything happens
	l.begin()
	want(job.Running)
	l.set(func(s *job.Status) { s.Reason = job.ReasonRetrying })
	want(job.Running)
	l.end(job.Failed)
	want(job.Failed)
	if e, ok := next(t, r); ok {
		t.Errorf("after the end: got %+v", e)
	}
	// Each ID leads to what came after it.
	for i, e := range seen {
		got := get(t, url+"/events", "Authorization", auth, "Last-Event-ID", e.id)
		if i == len(seen)-1 {
			if got.StatusCode != http.StatusNoContent {
				t.Errorf("after the last: got %s, want 204", got.Status)
			}
			continue
		}
		r := bufio.NewReader(got.Body)
		var phases []job.Phase
		for e, ok := next(t, r); ok; e, ok = next(t, r) {
			phases = append(phases, e.phase)
		}
		wanted := map[int][]job.Phase{0: {job.Running, job.Failed}, 1: {job.Failed}, 2: {job.Failed}}[i]
		if !slices.Equal(phases, wanted) {
			t.Errorf("after %s: got %v, want %v", e.id, phases, wanted)
		}
	}
}

func TestEventStreamFillsIn(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*life)
		last string
		want []job.Phase
	}{
		"quick": {func(l *life) { l.begin(); l.end(job.Succeeded) }, "",
			[]job.Phase{job.Pending, job.Running, job.Succeeded}},
		"never started":     {func(l *life) { l.end(job.Cancelled) }, "", []job.Phase{job.Pending, job.Cancelled}},
		"junk for an ID":    {func(l *life) { l.end(job.Cancelled) }, "x y", []job.Phase{job.Pending, job.Cancelled}},
		"another end's ID":  {func(l *life) { l.end(job.Cancelled) }, "3-Completed-1", []job.Phase{job.Cancelled}},
		"beyond what it is": {func(l *life) { l.end(job.Cancelled) }, "9-x-1", []job.Phase{job.Pending, job.Cancelled}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife()
			test.set(l)
			url, auth, _ := l.serve(t)
			r := bufio.NewReader(get(t, url+"/events", "Authorization", auth, "Last-Event-ID", test.last).Body)
			var got []job.Phase
			for e, ok := next(t, r); ok; e, ok = next(t, r) {
				got = append(got, e.phase)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("phases (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventStreamEndsWithTheServer(t *testing.T) {
	for name, of := range map[string]func(url, auth string) *http.Response{
		"of a job":    func(url, auth string) *http.Response { return get(t, url+"/events", "Authorization", auth) },
		"of all jobs": func(url, _ string) *http.Response { return get(t, strings.TrimSuffix(url, string(lifeID))+"events") },
	} {
		t.Run(name, func(t *testing.T) {
			url, auth, stop := newLife().serve(t)
			r := bufio.NewReader(of(url, auth).Body)
			if _, ok := next(t, r); !ok {
				t.Fatal("no event")
			}
			go stop()
			if e, ok := next(t, r); ok {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestEventStreamOfARemovedJob(t *testing.T) {
	l := newLife()
	url, auth, _ := l.serve(t)
	r := bufio.NewReader(get(t, url+"/events", "Authorization", auth).Body)
	if _, ok := next(t, r); !ok {
		t.Fatal("no event")
	}
	l.mu.Lock()
	l.err = fmt.Errorf("gone: %w", job.ErrNotFound)
	l.mu.Unlock()
	if rest, err := io.ReadAll(r); err != nil || !bytes.Contains(rest, []byte(": the job has been removed")) {
		t.Errorf("got %q, %v", rest, err)
	}
	if got := get(t, url+"/events", "Authorization", auth); got.StatusCode != http.StatusNotFound {
		t.Errorf("again: got %s", got.Status)
	}
	if got := get(t, url+"/events?x=1", "Authorization", auth); got.StatusCode != http.StatusBadRequest {
		t.Errorf("with a parameter: got %s", got.Status)
	}
}

// TestWoken has a job end that was watched for so long that it is looked at rarely.
func TestWoken(t *testing.T) {
	for path, header := range map[string]string{"": "wait=60", "/events": ""} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLife()
				l.bell = make(chan struct{}, 1)
				router, auth := l.route(t)
				const ends = 30*time.Second + time.Microsecond
				time.AfterFunc(ends, func() { l.end(job.Failed); l.bell <- struct{}{} })
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/jobs/"+string(lifeID)+path, nil)
				r.Header.Set("Authorization", auth)
				r.Header.Set("Prefer", header)
				begun, got := time.Now(), httptest.NewRecorder()
				router.ServeHTTP(got, r)
				if took := time.Since(begun); took != ends || !strings.Contains(got.Body.String(), string(job.Failed)) {
					t.Errorf("answered after %s, want %s: %s", took, ends, got.Body)
				}
			})
		})
	}
}

func TestPreferWait(t *testing.T) {
	l := newLife()
	url, auth, stop := l.serve(t)
	ask := func(prefer string) (job.Phase, string, time.Duration) {
		t.Helper()
		begun := time.Now()
		got := get(t, url, "Authorization", auth, "Prefer", prefer)
		var s job.Status
		if err := json.NewDecoder(got.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s.Phase, got.Header.Get("Preference-Applied"), time.Since(begun)
	}
	for prefer, want := range map[string]string{
		"": "", "wait": "", "wait=x": "", "wait=-1": "", "respond-async": "", "wait=0": "wait=0",
		"foo, WAIT = 0; x": "wait=0",
	} {
		if phase, applied, _ := ask(prefer); phase != job.Pending || applied != want {
			t.Errorf("%q: got %s, %q", prefer, phase, applied)
		}
	}
	if phase, applied, took := ask("wait=1"); phase != job.Pending || applied != "wait=1" || took < time.Second {
		t.Errorf("time up: got %s, %q after %s", phase, applied, took)
	}
	answered := make(chan job.Phase, 1)
	looks := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.looks }
	before := looks()
	go func() { phase, _, _ := ask("wait=600"); answered <- phase }()
	for looks() < before+2 { // it waits
		time.Sleep(time.Millisecond)
	}
	l.end(job.Failed)
	if phase := <-answered; phase != job.Failed {
		t.Errorf("over: got %s", phase)
	}
	l.set(func(s *job.Status) { s.Phase = job.Running })
	before = looks()
	go func() { phase, _, _ := ask("wait=60"); answered <- phase }()
	for looks() < before+2 {
		time.Sleep(time.Millisecond)
	}
	stop() // does not wait a minute
	if phase := <-answered; phase != job.Running {
		t.Errorf("stopping: got %s", phase)
	}
}
