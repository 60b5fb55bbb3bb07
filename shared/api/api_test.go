package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fail serves one request by a handler that returns err.
func fail(t *testing.T, err error) (*http.Response, api.Problem, string) {
	t.Helper()
	var log bytes.Buffer
	w := httptest.NewRecorder()
	w.Header().Set("Content-Length", "5")
	w.Header().Set("ETag", `"x"`)
	w.Header().Set("Content-Disposition", "attachment")
	api.WriteError(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/secret-free", nil),
		slog.New(slog.NewTextHandler(&log, nil)), err)
	return w.Result(), readProblem(t, w.Result()), log.String()
}

func readProblem(t *testing.T, r *http.Response) api.Problem {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p api.Problem
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		t.Fatalf("the body %q is no problem: %v", body, err)
	}
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q; want application/problem+json", got)
	}
	if p.Status != r.StatusCode || p.Title != http.StatusText(r.StatusCode) || p.Type != "about:blank" || p.Detail == "" {
		t.Errorf("status %d with problem %+v", r.StatusCode, p)
	}
	if got, want := r.Header.Get("Content-Length"), fmt.Sprint(len(body)); got != want {
		t.Errorf("Content-Length %q; want %s", got, want)
	}
	return p
}

func TestEveryKindHasItsStatus(t *testing.T) {
	const inner = "open /srv/data/0123: broken"
	for kind, want := range map[error]int{
		job.ErrNotFound: 404, job.ErrExists: 409, job.ErrInvalid: 422, job.ErrTooLarge: 413, job.ErrUnauthorized: 401,
		job.ErrForbidden: 403, job.ErrConflict: 409,
		job.ErrGone: 410, job.ErrUnavailable: 503, job.ErrExhausted: 507, errors.New("whatever"): 500,
		io.ErrUnexpectedEOF: 500, context.DeadlineExceeded: 500,
	} {
		r, p, log := fail(t, fmt.Errorf("read %s: %w", inner, kind))
		if r.StatusCode != want {
			t.Errorf("%v: status %d; want %d", kind, r.StatusCode, want)
		}
		if strings.Contains(p.Detail, inner) || len(p.Errors) > 0 {
			t.Errorf("%v: the answer %+v tells what only we may know", kind, p)
		}
		if logged := strings.Contains(log, inner); logged != (want >= 500) {
			t.Errorf("%v: logged %v: %s", kind, logged, log)
		}
		if got := r.Header.Get("WWW-Authenticate"); (got != "") != (want == 401) || got != "" &&
			!strings.HasPrefix(got, "Bearer") {
			t.Errorf("%v: WWW-Authenticate %q", kind, got)
		}
		if got := r.Header.Get("Retry-After"); (got != "") != (want == 503) {
			t.Errorf("%v: Retry-After %q", kind, got)
		}
		for _, name := range []string{"ETag", "Content-Disposition"} {
			if got := r.Header.Get(name); got != "" {
				t.Errorf("%v: %s %q of the answer that was not given", kind, name, got)
			}
		}
	}
}

func TestFaultsAreTold(t *testing.T) {
	_, p, _ := fail(t, fmt.Errorf("secret: %w", job.Refuse(job.ErrGone, "Idempotency-Key", "is gone")))
	want := api.Problem{Type: "about:blank", Title: "Gone", Status: 410, Detail: "Idempotency-Key: is gone",
		Errors: []job.Fault{{Field: "Idempotency-Key", Message: "is gone"}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("refusal (-want +got):\n%s", diff)
	}
	_, p, _ = fail(t, fmt.Errorf("secret: %w", api.BadRequest("limit", "is no number")))
	want = api.Problem{Type: "about:blank", Title: "Bad Request", Status: 400, Detail: "limit: is no number",
		Errors: []job.Fault{{Field: "limit", Message: "is no number"}}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("bad request (-want +got):\n%s", diff)
	}
	_, p, _ = fail(t, fmt.Errorf("secret: %w", api.Fail(http.StatusTeapot, "Short and stout.")))
	if p.Status != http.StatusTeapot || p.Detail != "Short and stout." {
		t.Errorf("Fail gives %+v", p)
	}
	spec := job.Spec{CPU: "<script>", Memory: "1", Retries: -1}
	_, p, _ = fail(t, spec.Validate())
	if p.Status != 422 || len(p.Errors) != 3 {
		t.Errorf("three faults give %+v", p)
	}
}

func TestRouter(t *testing.T) {
	var log bytes.Buffer
	router := api.NewRouter(slog.New(slog.NewTextHandler(&log, nil)))
	router.HandlePath(http.MethodGet, "/jobs/:id",
		func(w http.ResponseWriter, _ *http.Request, p httprouter.Params) error {
			api.WriteJSON(w, http.StatusOK, map[string]string{"id": p.ByName("id")})
			return nil
		})
	router.HandlePath(http.MethodGet, "/fails", func(http.ResponseWriter, *http.Request, httprouter.Params) error {
		return fmt.Errorf("secret: %w", job.ErrConflict)
	})
	router.HandlePath(http.MethodGet, "/panics",
		func(http.ResponseWriter, *http.Request, httprouter.Params) error { panic("secret state") })
	router.HandlePath(http.MethodGet, "/aborts",
		func(http.ResponseWriter, *http.Request, httprouter.Params) error { panic(http.ErrAbortHandler) })
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/healthz", 200}, {"GET", "/jobs/x", 200}, {"GET", "/jobs/x/", 404}, {"GET", "/JOBS/x", 404},
		{"GET", "/jobs", 404}, {"GET", "/none", 404}, {"GET", "//healthz", 404},
		{"GET", "/jobs/../healthz", 404}, {"POST", "/jobs/x", 405}, {"OPTIONS", "/jobs/x", 405}, {"DELETE", "/healthz", 405},
		{"GET", "/fails", 409}, {"GET", "/panics", 500},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := http.DefaultTransport.RoundTrip(r) // follows nothing
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			if got.StatusCode != test.want {
				t.Fatalf("status %d; want %d", got.StatusCode, test.want)
			}
			if test.want == 200 {
				return
			}
			if p := readProblem(t, got); strings.Contains(fmt.Sprint(p), "secret") ||
				strings.Contains(fmt.Sprint(p), "goroutine") {
				t.Errorf("the answer %+v tells what only we may know", p)
			}
			want := ""
			if test.want == 405 {
				want = "GET"
			}
			if allow := got.Header.Get("Allow"); allow != want {
				t.Errorf("Allow: got %q with %d, want %q", allow, got.StatusCode, want)
			}
		})
	}
	if !strings.Contains(log.String(), "secret state") || !strings.Contains(log.String(), "goroutine") {
		t.Errorf("the panic and its stack are not in the log: %.300s", log.String())
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/aborts", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := http.DefaultTransport.RoundTrip(r); err == nil {
		_ = got.Body.Close()
		t.Errorf("an aborted answer came with status %d", got.StatusCode)
	}
}

func TestHasToken(t *testing.T) {
	keys, err := token.New(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	const id, other job.ID = "fe6aa1b2c3d4000102030405060708ff", "fe6aa1b2c3d4000102030405060708fe"
	user, agent, foreign := keys.Derive(token.User, id), keys.Derive(token.Agent, id), keys.Derive(token.User, other)
	for _, test := range []struct {
		name   string
		id     job.ID
		values []string
		want   int
	}{
		{"right", id, []string{"Bearer " + user}, 200}, {"lower case", id, []string{"bearer " + user}, 200},
		{"upper case", id, []string{"BEARER " + user}, 200},
		{"more spaces", id, []string{"Bearer   " + user + " "}, 200},
		{"none", id, nil, 401}, {"empty", id, []string{""}, 401}, {"scheme alone", id, []string{"Bearer"}, 401},
		{"no token", id, []string{"Bearer  "}, 401},
		{"Basic", id, []string{"Basic " + user}, 401}, {"token alone", id, []string{user}, 401},
		{"Bearer:", id, []string{"Bearer:" + user}, 401}, {"prefix", id, []string{"BearerX " + user}, 401},
		{"two", id, []string{"Bearer " + user, "Bearer " + user}, 400},
		{"two of which one is wrong", id, []string{"Bearer " + user, "Basic x"}, 400},
		{"two in one", id, []string{"Bearer " + user + ", Bearer " + user}, 403},
		{"two tokens", id, []string{"Bearer " + user + " " + user}, 403},
		{"wrong", id, []string{"Bearer x"}, 403}, {"another scope", id, []string{"Bearer " + agent}, 403},
		{"of another job", id, []string{"Bearer " + foreign}, 403},
		{"for another job", other, []string{"Bearer " + user}, 403}, {"no ID", "junk", []string{"Bearer " + user}, 403},
		{"empty ID", "", []string{"Bearer " + user}, 403},
		{"no ID and no token", "junk", nil, 401},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		for _, value := range test.values {
			r.Header.Add("Authorization", value)
		}
		if got := api.HasToken(r, test.id, keys, token.User); got != (test.want == 200) {
			t.Errorf("%s: %t", test.name, got)
		}
		_, err := api.Bearer(r)
		if test.want == 200 || test.want == 403 {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		if r, p, _ := fail(t, err); r.StatusCode != test.want || strings.Contains(fmt.Sprint(p), user) {
			t.Errorf("%s: status %d, %+v; want %d", test.name, r.StatusCode, p, test.want)
		}
	}
}

// serve runs Serve on a port of its own until stop is called, and sends what it returned.
func serve(
	t *testing.T, h http.Handler, wait time.Duration, drain func(),
) (url string, stop func(), result chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	result = make(chan error, 1)
	go func() {
		result <- (&api.Server{Log: quiet(), Wait: wait, Drain: drain, MaxConnections: 100}).Serve(ctx, ln, h)
	}()
	return "http://" + ln.Addr().String(), cancel, result
}

func get(t *testing.T, url string) (string, error) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func TestServeDrains(t *testing.T) {
	began, goOn := make(chan struct{}, 2), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-goOn
		if r.Context().Err() != nil {
			t.Error("the context of a request in flight ended")
		}
		_, _ = io.WriteString(w, "done")
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-api.Stopping(r.Context())
		_, _ = io.WriteString(w, "reconnect")
		close(goOn) // streams are told to end before the server waits for other requests
	})
	mux.HandleFunc("/quick", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "quick") })
	var url string
	ready := make(chan struct{})
	drained := make(chan string, 1)
	url, stop, result := serve(t, mux, time.Minute, func() {
		<-ready
		got, err := get(t, url+"/quick")
		drained <- fmt.Sprint(got, err)
	})
	close(ready)
	answers := make(chan string, 2)
	for _, path := range []string{"/slow", "/stream"} {
		go func() {
			got, err := get(t, url+path)
			answers <- fmt.Sprint(got, err)
		}()
	}
	<-began
	<-began
	stop()
	if got := <-drained; got != "quick<nil>" {
		t.Errorf("a request during drain got %s", got)
	}
	got := map[string]bool{<-answers: true, <-answers: true}
	if diff := cmp.Diff(map[string]bool{"done<nil>": true, "reconnect<nil>": true}, got); diff != "" {
		t.Errorf("requests in flight (-want +got):\n%s", diff)
	}
	if err := <-result; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := get(t, url+"/quick"); err == nil {
		t.Error("the port is still open")
	}
}

func TestServeWaitsNoLongerThanItMay(t *testing.T) {
	began := make(chan struct{})
	url, stop, result := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done() // ends when the connection is closed
	}), 20*time.Millisecond, func() {})
	answer := make(chan error, 1)
	go func() { answer <- second(get(t, url)) }()
	<-began
	stop()
	if err := <-result; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve: %v; want that the time was up", err)
	}
	if err := <-answer; err == nil {
		t.Error("the request that took too long was answered")
	}
}

func second[T any](_ T, err error) error { return err }

func TestServeReportsABrokenListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := (&api.Server{Log: quiet(), Wait: time.Second, Drain: func() {}, MaxConnections: 1}).Serve(t.Context(), ln,
		http.NotFoundHandler()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v; want net.ErrClosed", err)
	}
}

func TestStoppingOutsideServe(t *testing.T) {
	if api.Stopping(t.Context()) != nil {
		t.Error("a channel that nobody closes on purpose")
	}
}
