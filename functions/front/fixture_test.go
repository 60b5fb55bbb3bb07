package front_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go-job-orchestrator/functions/front"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/settings"
)

// tokenKeys is the setting TOKEN_KEYS.
const tokenKeys = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// names are those of the functions behind.
func names() []string {
	return []string{"submit", "status", "logs", "artifacts", "outputs", "cancel", "keys"}
}

// fixture is a front before real servers. Each answers with its name, unless answer is set.
type fixture struct {
	t       testing.TB
	front   *httptest.Server
	servers map[string]*httptest.Server
	answer  http.HandlerFunc
	log     *lockedBuffer
}

func newFixture(t testing.TB, settings ...string) *fixture {
	t.Helper()
	w := &fixture{t: t, servers: map[string]*httptest.Server{}, log: &lockedBuffer{}}
	vars := map[string]string{"TOKEN_KEYS": tokenKeys}
	for _, name := range names() {
		w.servers[name] = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Backend", name)
			if w.answer != nil {
				w.answer(rw, r)
				return
			}
			rw.Header().Set("Got", r.Method+" "+r.RequestURI)
			rw.Header().Set("Got-Host", r.Host)
			for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Accept-Encoding",
				"Upgrade", "Authorization", "Origin", "Sec-Fetch-Site"} {
				rw.Header().Set("Got-"+header, strings.Join(r.Header.Values(header), "|"))
			}
		}))
		t.Cleanup(w.servers[name].Close)
		vars[strings.ToUpper(name)+"_URL"] = w.servers[name].URL
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		vars[name] = value
	}
	w.front = httptest.NewServer(w.open(vars))
	t.Cleanup(w.front.Close)
	return w
}

// open returns a front with these settings.
func (w *fixture) open(vars map[string]string) http.Handler {
	w.t.Helper()
	anybody := vars["AUTH"] == ""
	if anybody {
		vars["AUTH"] = "open"
	}
	env := settings.New(vars, slog.New(slog.NewJSONHandler(w.log, nil)))
	f, err := front.Open(env)
	if err != nil {
		w.t.Fatal(err)
	}
	if anybody {
		f.LetEverybodyIn()
	}
	router := api.NewRouter(env.Log).Audited(env.Audit())
	f.Mount(router)
	return router
}

func (w *fixture) request(method, path string, body io.Reader) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.front.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// do returns the answer and its body.
func (w *fixture) do(r *http.Request) (*http.Response, []byte) {
	w.t.Helper()
	got, err := w.front.Client().Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return got, body
}

// problem demands a problem of that status.
func (w *fixture) problem(got *http.Response, body []byte, status int) api.Problem {
	w.t.Helper()
	if got.StatusCode != status {
		w.t.Fatalf("status: got %s, want %d; %s", got.Status, status, body)
	}
	if kind := got.Header.Get("Content-Type"); kind != "application/problem+json" {
		w.t.Errorf("content type: got %q", kind)
	}
	var p api.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Status != status {
		w.t.Errorf("body: got %s, %v", body, err)
	}
	return p
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
