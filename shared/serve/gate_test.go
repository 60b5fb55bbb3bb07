package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/settings"
)

func gate(t *testing.T, vars map[string]string) *Gate {
	t.Helper()
	g, err := OpenGate(settings.New(vars, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// every handles every call.
type every http.HandlerFunc

func (e every) ServeHTTP(w http.ResponseWriter, r *http.Request) { e(w, r) }

func (every) Handles(string, string) bool { return true }

// ask returns the status of the answer to a request that prepare has changed; 0 where no answer comes
// within ten seconds.
func ask(t *testing.T, h http.Handler, prepare func(r *http.Request)) (int, api.Problem) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/", strings.NewReader("x"))
	prepare(r)
	w := httptest.NewRecorder()
	answered := make(chan struct{})
	go func() { // a gate that waits where it must refuse does not look at the context
		defer close(answered)
		h.ServeHTTP(w, r)
	}()
	var p api.Problem
	select {
	case <-answered:
	case <-ctx.Done():
		return 0, p
	}
	_ = json.Unmarshal(w.Body.Bytes(), &p)
	return w.Code, p
}

func TestGate(t *testing.T) {
	router := api.NewRouter(slog.New(slog.DiscardHandler))
	router.Handle(routes.LaunchJob, func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
		_, err := io.Copy(w, r.Body)
		return err
	})
	h := gate(t, map[string]string{"ALLOWED_HOSTS": "jobs.example.com, *.example.org",
		"ORCH_BASE_URL": "http://Base.example:80/", "K_SERVICE": "submit", "NAMESPACE": "jobs"}).Before(router)
	for _, test := range []struct {
		host   string
		header string
		want   int
	}{
		{"localhost", "", 200}, {"jobs.example.com", "", 200}, {"a.example.org:80", "", 200}, {"base.example", "", 200},
		{"submit.jobs.svc.cluster.local", "", 200}, {"submit.jobs.example.net", "", 200},
		{"submit.other.example.net", "", 421}, {"evil.example", "", 421},
		{"localhost", "Content-Encoding: gzip", 415}, {"localhost", "Content-Encoding: Identity", 200},
		{"localhost", "Content-Encoding: gzip, identity", 415},
		{"evil.example", "Content-Encoding: gzip", 421}, {"localhost", "Origin: https://evil.example", 403},
		{"localhost", "Sec-Fetch-Site: cross-site", 403},
	} {
		got, p := ask(t, h, func(r *http.Request) {
			r.Host = test.host
			if name, value, found := strings.Cut(test.header, ": "); found {
				r.Header.Set(name, value)
			}
		})
		if got != test.want || got != 200 && p.Status != got {
			t.Errorf("%s, %s: %d %+v; want %d", test.host, test.header, got, p, test.want)
		}
	}
}

// TestOtherSites has pages of two sites use the API, of which one may. The handshake of webhooks, which
// is OPTIONS too, works as it does without any sites.
func TestOtherSites(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, setting := range []string{"", "https://app.example.com"} {
		router := api.NewRouter(log)
		for _, route := range []routes.Route{routes.LaunchJob, routes.AllowEvents} {
			router.Handle(route, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
				w.Header().Set("Webhook-Allowed-Rate", "*")
				w.WriteHeader(http.StatusNoContent)
				return nil
			})
		}
		h := gate(t, map[string]string{"CORS_ORIGINS": setting}).Before(router)
		for _, test := range []struct {
			request, origin, method string
			want                    int    // with the setting
			without                 int    // without it
			allowed                 string // Access-Control-Allow-Methods
			handshake               bool
		}{
			{"POST /", "https://app.example.com", "", 204, 403, "", true},
			{"POST /", "https://evil.example", "", 403, 403, "", false},
			{"OPTIONS /", "https://app.example.com", "POST", 204, 403, "POST", false},
			{"OPTIONS /", "https://app.example.com", "PUT", 405, 403, "", false},
			{"OPTIONS /", "https://evil.example", "POST", 403, 403, "", false},
			{"OPTIONS /nothing", "https://app.example.com", "POST", 404, 403, "", false},
			{"OPTIONS /events", "", "", 204, 204, "", true},
			{"OPTIONS /events", "", "POST", 204, 204, "", true},
			{"OPTIONS /events", "https://evil.example", "POST", 403, 403, "", false},
		} {
			method, path, _ := strings.Cut(test.request, " ")
			r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost"+path, nil)
			for name, value := range map[string]string{"Origin": test.origin, "Access-Control-Request-Method": test.method} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			want, allowed, handshake := test.want, test.allowed, test.handshake
			if setting == "" {
				want, allowed, handshake = test.without, "", handshake && test.without == 204
			}
			if w.Code != want || w.Header().Get("Access-Control-Allow-Methods") != allowed ||
				(w.Header().Get("Webhook-Allowed-Rate") != "") != handshake {
				t.Errorf("CORS_ORIGINS=%s, %+v: %d %v", setting, test, w.Code, w.Header())
			}
		}
	}
}

// TestGateHasABudget has one request take all memory. Another waits for it in vain; the clock is the
// test's.
func TestGateHasABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate(t, map[string]string{"MAX_BUFFERED_BYTES": "4Mi"})
		var inner http.Handler
		var status int
		h := g.Before(every(func(w http.ResponseWriter, r *http.Request) {
			if err := budget.Take(r.Context(), 4<<20); err != nil {
				api.WriteError(w, r, slog.New(slog.DiscardHandler), err)
				return
			}
			if inner != nil {
				next := inner
				inner = nil
				status, _ = ask(t, next, func(*http.Request) {})
			}
		}))
		inner = h
		if got, _ := ask(t, h, func(*http.Request) {}); got != 200 || status != 503 {
			t.Errorf("the first got %d, another meanwhile %d; want 200 and 503", got, status)
		}
		if got, _ := ask(t, h, func(*http.Request) {}); got != 200 {
			t.Errorf("one after them got %d", got)
		}
	})
}

// held is a handler that answers a request of a certain kind only when it is told to.
type held struct{ began, release chan struct{} }

func newHeld() *held { return &held{make(chan struct{}), make(chan struct{})} }

func (h *held) wait(r *http.Request) {
	select {
	case h.began <- struct{}{}:
	case <-h.release:
	case <-r.Context().Done():
	}
	select {
	case <-h.release:
	case <-r.Context().Done():
	}
}

// fill has so many requests wait, calls meanwhile, and releases them. Then another one finds a place.
func (h *held) fill(t *testing.T, gate http.Handler, n int, prepare func(i int, r *http.Request), meanwhile func()) {
	t.Helper()
	ended := make(chan int, n)
	for i := range n {
		go func() {
			got, _ := ask(t, gate, func(r *http.Request) { prepare(i, r) })
			ended <- got
		}()
		select {
		case <-h.began:
		case got := <-ended:
			t.Fatalf("request %d of those that fit got %d", i, got)
		}
	}
	meanwhile()
	close(h.release)
	for range n {
		if got := <-ended; got != 200 {
			t.Errorf("one of those that fit got %d", got)
		}
	}
	if got, _ := ask(t, gate, func(r *http.Request) { prepare(0, r) }); got != 200 {
		t.Errorf("one after them got %d", got)
	}
}

// TestGateBoundsRequests is about servers that bound no connections.
func TestGateBoundsRequests(t *testing.T) {
	held := newHeld()
	h := gate(t, map[string]string{"MAX_CONNECTIONS": "16"}).Before(every(func(_ http.ResponseWriter, r *http.Request) {
		held.wait(r)
	}))
	held.fill(t, h, 16, func(int, *http.Request) {}, func() {
		if got, p := ask(t, h, func(*http.Request) {}); got != 503 || !strings.Contains(p.Detail, "MAX_CONNECTIONS") {
			t.Errorf("one more got %d %+v", got, p)
		}
	})
}

// TestFollowersLeavePlaces has as many requests wait as may, and then asks without waiting.
func TestFollowersLeavePlaces(t *testing.T) {
	held := newHeld()
	h := gate(t, map[string]string{"MAX_CONNECTIONS": "16"}).Before(every(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Prefer")+r.Header.Get("Accept")+r.URL.RawQuery != "" || r.URL.Path != "/" {
			held.wait(r)
		}
	}))
	kinds := []func(r *http.Request){
		func(r *http.Request) { r.Header.Set("Prefer", "wait=60") },
		func(r *http.Request) { r.Method, r.URL.RawQuery = http.MethodGet, "tail=all&follow=true" },
		func(r *http.Request) { r.Method, r.URL.Path = http.MethodGet, "/api/v1/jobs/x/events" },
		func(r *http.Request) { r.Method = http.MethodGet; r.Header.Set("Accept", "text/event-stream") },
	}
	held.fill(t, h, 12, func(i int, r *http.Request) { kinds[i%len(kinds)](r) }, func() {
		for i, kind := range kinds {
			if got, _ := ask(t, h, kind); got != 503 {
				t.Fatalf("one more of kind %d got %d", i, got)
			}
		}
		if got, _ := ask(t, h, func(*http.Request) {}); got != 200 {
			t.Errorf("one that does not wait got %d", got)
		}
	})
}

func TestFaultySettings(t *testing.T) {
	_, err := OpenGate(settings.New(map[string]string{
		"ALLOWED_HOSTS": "https://a.example,b.example", "MAX_CONNECTIONS": "15", "MAX_BUFFERED_BYTES": "1Mi",
		"STALL_TIMEOUT": "999ms", "CORS_ORIGINS": "app.example.com,https://b.example/",
	}, slog.New(slog.DiscardHandler)))
	for _, want := range []string{"ALLOWED_HOSTS", "MAX_CONNECTIONS", "MAX_BUFFERED_BYTES", "STALL_TIMEOUT",
		"at least 1s", "at least 16", "at least 4Mi", "CORS_ORIGINS", `"app.example.com"`, `"https://b.example/"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if _, err := OpenGate(settings.New(map[string]string{"STALL_TIMEOUT": "2h"},
		slog.New(slog.DiscardHandler))); err == nil || !strings.Contains(err.Error(), "at most 1h") {
		t.Errorf("two hours: %v", err)
	}
}

// TestMemoryIsGivenAwayOnce holds what is shared here against what uploads to clouds take, which is
// half.
func TestMemoryIsGivenAwayOnce(t *testing.T) {
	for memory, want := range map[int64]int64{math.MaxInt64: 64 << 20, 400 << 20: 100 << 20, 100 << 20: 25 << 20,
		8 << 20: 4 << 20} {
		if got := (&Settings{}).buffered(memory); got != want {
			t.Errorf("of %d bytes %d are shared; want %d", memory, got, want)
		}
	}
	if got := (&Settings{MaxBuffered: 5 << 20}).buffered(400 << 20); got != 5<<20 {
		t.Errorf("a setting of 5 MiB becomes %d", got)
	}
}

// stranger is a value that a client could have filled.
type stranger struct{ Text string }

func (s stranger) Error() string { return s.Text }

// lazy becomes a long text when it is logged.
type lazy struct{}

func (lazy) LogValue() slog.Value { return slog.StringValue(strings.Repeat("x", 1<<20)) }

func TestLogIsBounded(t *testing.T) {
	long := strings.Repeat("é", 1<<19)
	for _, inCluster := range []bool{true, false} {
		for name, value := range map[string]any{
			"a string": long, "an error": stranger{long}, "a wrapped error": fmt.Errorf("start: %w", stranger{long}),
			"a struct": struct{ A, B string }{long, long},
			"a list":   []string{long, long}, "a map": map[string]string{"a": long}, "bytes": []byte(long),
			"a value that resolves": lazy{},
			"a group":               slog.GroupValue(slog.String("inner", long)), "a pointer": &stranger{long},
		} {
			var out strings.Builder
			newLog(&out, inCluster).WarnContext(context.Background(), "event starts no job", "type", value)
			if len(out.String()) > 8<<10 || !strings.Contains(out.String(), "bytes)") {
				t.Errorf("in a cluster %t: %s becomes a line of %d bytes: %.100s", inCluster, name, out.Len(), out.String())
			}
		}
		var out strings.Builder
		log := newLog(&out, inCluster).With("source", long)
		log.Warn(long, "n", 7, "short", "fine", "error", fmt.Errorf("short"))
		if len(out.String()) > 8<<10 || !strings.Contains(out.String(), "fine") || !strings.Contains(out.String(), "7") {
			t.Errorf("in a cluster %t: a message becomes a line of %d bytes: %.100s", inCluster, out.Len(), out.String())
		}
	}
}
