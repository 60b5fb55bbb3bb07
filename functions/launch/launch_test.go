package launch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/wakeup"
)

// launcher notes what it is told.
type launcher struct {
	launched []job.ID
	err      error
}

func (l *launcher) Launch(_ context.Context, index *job.Index) error {
	l.launched = append(l.launched, index.JobID)
	return l.err
}

// fixture is a server with the function over a bucket.
type fixture struct {
	*ledgertest.Fixture
	launcher *launcher
	woken    atomic.Int64 // how often the functions that a pod needs were started
	function *launch.Function
	server   *httptest.Server
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{Fixture: ledgertest.New(t), launcher: &launcher{}}
	f.function = launch.New(launch.Deps{
		Launcher: f.launcher, Records: f.Ledger, Log: slog.New(slog.DiscardHandler), Wake: func() { f.woken.Add(1) },
	})
	f.server = f.Serve(f.function)
	return f
}

func submitted(id job.ID) cloudevent.Event {
	return event.New(event.Submitted, "http://jobs.example", id, time.Now())
}

func TestHandle(t *testing.T) {
	for name, test := range map[string]struct {
		event  func(f *fixture) cloudevent.Event
		launch bool
	}{
		"a job":          {func(f *fixture) cloudevent.Event { return submitted(f.Job().JobID) }, true},
		"an unknown job": {func(f *fixture) cloudevent.Event { return submitted(f.ID()) }, false},
		"a job that is over": {func(f *fixture) cloudevent.Event {
			index := f.Job()
			f.End(index, job.Cancelled)
			return submitted(index.JobID)
		}, false},
		"a job that runs": {func(f *fixture) cloudevent.Event {
			index := f.Job()
			f.Start(index, 1)
			return submitted(index.JobID)
		}, true}, // launching twice changes nothing
		"an ID that was given up": {func(f *fixture) cloudevent.Event {
			id := f.ID()
			if err := f.Store.Create(t.Context(), ledger.FileKey(id, job.IndexFile), []byte(`{"void":true}`)); err != nil {
				t.Fatal(err)
			}
			return submitted(id)
		}, false},
		"foreign type": {func(f *fixture) cloudevent.Event {
			e := submitted(f.Job().JobID)
			e.SetType("com.example.other.v1")
			return e
		}, false},
		"no subject": {func(f *fixture) cloudevent.Event {
			e := submitted(f.Job().JobID)
			e.SetSubject("")
			return e
		}, false},
		"subject that is no ID": {func(*fixture) cloudevent.Event { return submitted("../../etc/passwd") }, false},
		"subject in capitals": {func(f *fixture) cloudevent.Event {
			return submitted(
				job.ID(strings.ToUpper(string(f.Job().JobID))))
		}, false},
		"with data": {func(f *fixture) cloudevent.Event {
			e := submitted(f.Job().JobID)
			if err := e.SetData("application/json", map[string]string{"jobID": "other"}); err != nil {
				t.Fatal(err)
			}
			return e
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			e := test.event(f)
			for range 2 {
				if err := f.function.Handle(t.Context(), e); err != nil {
					t.Errorf("got %v", err)
				}
			}
			want := []job.ID{}
			if test.launch {
				want = []job.ID{job.ID(e.Subject()), job.ID(e.Subject())}
			}
			if got := f.woken.Load(); got != int64(len(want)) {
				t.Errorf("woke the functions that a pod needs %d times for %d launches", got, len(want))
			}
			if !slices.Equal(f.launcher.launched, want) {
				t.Errorf("launched %s, want %s", f.launcher.launched, want)
			}
		})
	}
}

func (f *fixture) post(header map[string]string, body io.Reader) (*http.Response, []byte) {
	f.T.Helper()
	r, err := http.NewRequestWithContext(f.T.Context(), http.MethodPost, f.server.URL+"/", body)
	if err != nil {
		f.T.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		f.T.Fatal(err)
	}
	defer got.Body.Close()
	answer, err := io.ReadAll(got.Body)
	if err != nil {
		f.T.Fatal(err)
	}
	return got, answer
}

func binary(id job.ID) map[string]string {
	return map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "x", "Ce-Source": "http://jobs.example", "Ce-Type": event.Submitted,
		"Ce-Subject": string(id),
	}
}

func structured(id job.ID) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"x","source":"http://jobs.example","type":%q,"subject":%q}`,
		event.Submitted, id)
}

const structuredType = "application/cloudevents+json"

func TestHTTP(t *testing.T) {
	f := newFixture(t)
	id := f.Job().JobID
	with := func(h map[string]string, name, value string) map[string]string { h[name] = value; return h }
	for name, test := range map[string]struct {
		header   map[string]string
		body     string
		want     int
		launches int
	}{
		"binary":           {binary(id), "", 204, 1},
		"binary with data": {with(binary(id), "Content-Type", "application/json"), `{"a":"b"}`, 204, 1},
		"structured":       {map[string]string{"Content-Type": structuredType}, structured(id), 204, 1},
		"structured with charset": {map[string]string{"Content-Type": structuredType + "; charset=utf-8"}, structured(id),
			204, 1},
		"foreign type":          {with(binary(id), "Ce-Type", "other"), "", 204, 0},
		"unknown job":           {binary(f.ID()), "", 204, 0},
		"bad subject":           {binary("x"), "", 204, 0},
		"no event":              {nil, "", 400, 0},
		"JSON that is no event": {map[string]string{"Content-Type": "application/json"}, "{}", 400, 0},
		"structured, not JSON":  {map[string]string{"Content-Type": structuredType}, "x", 400, 0},
		"structured, empty":     {map[string]string{"Content-Type": structuredType}, "", 400, 0},
		"structured, cut":       {map[string]string{"Content-Type": structuredType}, structured(id)[:50], 400, 0},
		"structured, an array":  {map[string]string{"Content-Type": structuredType}, "[" + structured(id) + "]", 400, 0},
		"batch": {map[string]string{"Content-Type": "application/cloudevents-batch+json"},
			"[" + structured(id) + "]", 400, 0},
		"structured of version 9": {map[string]string{"Content-Type": structuredType},
			strings.Replace(structured(id), "1.0", "9.0", 1), 400, 0},
		"binary of version 9": {with(binary(id), "Ce-Specversion", "9.0"), "", 400, 0},
		"structured of version 0.3": {map[string]string{"Content-Type": structuredType},
			strings.Replace(structured(id), "1.0", "0.3", 1), 400, 0},
		"binary of version 0.3": {with(binary(id), "Ce-Specversion", "0.3"), "", 400, 0},
		"encoded":               {with(binary(id), "Ce-Subject", "%66"+string(id)[1:]), "", 204, 1},
		"encoded wrongly":       {with(binary(id), "Ce-Subject", "%6"), "", 400, 0},
		"too large binary":      {binary(id), strings.Repeat("x", 2<<20), 413, 0},
		"too large structured": {map[string]string{"Content-Type": structuredType}, `{"a":"` +
			strings.Repeat("x", 2<<20) + `"}`, 413, 0},
		"endless spaces, structured": {map[string]string{"Content-Type": structuredType}, strings.Repeat(" ", 2<<20), 413, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f.T = t
			f.launcher.launched = nil
			got, body := f.post(test.header, strings.NewReader(test.body))
			if got.StatusCode != test.want {
				t.Fatalf("got %s, want %d: %s", got.Status, test.want, body)
			}
			if test.want == 204 && len(body) > 0 {
				t.Errorf("204 with the body %q", body)
			}
			if ct := got.Header.Get("Content-Type"); test.want >= 400 && ct != "application/problem+json" {
				t.Errorf("Content-Type: got %q", ct)
			}
			if len(f.launcher.launched) != test.launches {
				t.Errorf("launched %s", f.launcher.launched)
			}
		})
	}
}

// TestLaunchFails demands that a Broker sends the event again, whatever kind the error is of: it
// drops those that get another 4xx than 404, 408, 409 or 429.
func TestLaunchFails(t *testing.T) {
	for _, kind := range []error{
		errors.New("broken"), job.ErrUnavailable, job.ErrExhausted, job.ErrInvalid, job.ErrForbidden, job.ErrUnauthorized,
		job.ErrNotFound, job.ErrConflict,
		job.ErrTooLarge, job.ErrGone, job.Invalid("image", "no such image"), api.BadRequest("x", "y"),
		api.Fail(418, "teapot"), context.Canceled, context.DeadlineExceeded,
	} {
		t.Run(kind.Error(), func(t *testing.T) {
			f := newFixture(t)
			f.launcher.err = fmt.Errorf("launch: %w", kind)
			id := f.Job().JobID
			if err := f.function.Handle(t.Context(), submitted(id)); !errors.Is(err, kind) {
				t.Errorf("Handle: got %v", err)
			}
			got, body := f.post(binary(id), nil)
			if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
				t.Errorf("got %s: %s", got.Status, body)
			}
			if strings.Contains(string(body), "no such image") {
				t.Errorf("the answer tells what only the log should: %s", body)
			}
		})
	}
}

// TestNothingToWake launches where the functions that a pod needs are running anyway.
func TestNothingToWake(t *testing.T) {
	f := newFixture(t)
	function := launch.New(launch.Deps{Launcher: f.launcher, Records: f.Ledger, Log: slog.New(slog.DiscardHandler)})
	f.Must(function.Handle(t.Context(), submitted(f.Job().JobID)))
	if len(f.launcher.launched) != 1 {
		t.Errorf("launched %s", f.launcher.launched)
	}
}

// TestRecordsFail is a storage that cannot be read: the event is not lost.
func TestRecordsFail(t *testing.T) {
	f := newFixture(t)
	id := f.ID()
	if err := f.Store.Create(t.Context(), ledger.FileKey(id, job.IndexFile), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if got, body := f.post(binary(id), nil); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s: %s", got.Status, body)
	}
	if len(f.launcher.launched) > 0 {
		t.Error("launched")
	}
}

func TestRoutes(t *testing.T) {
	f := newFixture(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	got.Body.Close()
	if got.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /: got %s", got.Status)
	}
}

// TestNoMemory has the Broker send an event again if other requests hold all the memory.
func TestNoMemory(t *testing.T) {
	t.Parallel() // it waits for memory
	f := newFixture(t)
	const size = 1 << 20
	shared := budget.New(size)
	other, end := shared.Open(t.Context())
	defer end()
	f.Must(budget.Take(other, size))
	inner := f.server.Config.Handler
	f.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := shared.Open(r.Context())
		defer done()
		inner.ServeHTTP(w, r.WithContext(ctx))
	})
	body := structured(f.Job().JobID) + strings.Repeat(" ", 64<<10)
	got, answer := f.post(map[string]string{"Content-Type": structuredType}, strings.NewReader(body))
	if got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s: %s", got.Status, answer)
	}
}

// TestWoken tells a call that announces a job from the probes of Knative.
func TestWoken(t *testing.T) {
	f := newFixture(t)
	get := func(agent string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+"/healthz", nil)
		f.Must(err)
		r.Header.Set("User-Agent", agent)
		got, err := http.DefaultClient.Do(r)
		f.Must(err)
		f.Must(got.Body.Close())
	}
	get("kube-probe/1.34")
	if f.woken.Load() != 0 {
		t.Error("a probe announces a job")
	}
	env := platform.New(map[string]string{"WAKE": f.server.URL}, slog.New(slog.DiscardHandler))
	w, err := wakeup.Open(env.Env)
	f.Must(err)
	w.Wake()
	for end := time.Now().Add(10 * time.Second); f.woken.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a wake-up is not noticed")
		}
	}
}
