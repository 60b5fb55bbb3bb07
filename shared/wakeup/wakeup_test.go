package wakeup_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/wakeup"
)

// TestWake calls each function, and again when a while has passed. It never waits for an answer.
func TestWake(t *testing.T) {
	calls, release := make(chan string, 10), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		calls <- r.Method + " " + r.URL.Path
		<-release // as a function does that has no pod yet
	}))
	t.Cleanup(func() { once.Do(func() { close(release) }); server.Close() })
	now := time.Unix(1, 0)
	env := settings.New(map[string]string{"WAKE": server.URL + "," + server.URL + "/other/"},
		slog.New(slog.DiscardHandler))
	env.Now = func() time.Time { return now }
	w, err := wakeup.Open(env)
	if err != nil {
		t.Fatal(err)
	}
	both := func(when string) {
		t.Helper()
		got := map[string]bool{<-calls: true, <-calls: true}
		if !got["GET /healthz"] || !got["GET /other/healthz"] {
			t.Errorf("%s: called %v", when, got)
		}
	}
	w.Wake()
	both("at first")
	now = now.Add(21 * time.Second)
	w.Wake()
	both("after a while")
}

// roundTripper answers the calls of a client.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestWakeIsRare has a request come each second for a minute. The clock is the test's.
func TestWakeIsRare(t *testing.T) {
	transport := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = transport })
	synctest.Test(t, func(t *testing.T) {
		var called atomic.Bool
		http.DefaultTransport = roundTripper(func(*http.Request) (*http.Response, error) {
			called.Store(true)
			return nil, errors.New("no pod yet")
		})
		env := settings.New(map[string]string{"WAKE": "submit"}, slog.New(slog.DiscardHandler))
		env.Now = time.Now
		w, err := wakeup.Open(env)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for second := range 61 {
			w.Wake()
			synctest.Wait()
			if called.Swap(false) {
				got = append(got, second)
			}
			time.Sleep(time.Second)
		}
		if want := []int{0, 20, 40, 60}; !slices.Equal(got, want) {
			t.Errorf("woken at seconds %v, want %v", got, want)
		}
	})
}

// TestNothingToWake is a process in which all functions are, and one without the setting.
func TestNothingToWake(t *testing.T) {
	(*wakeup.Waker)(nil).Wake()
	w, err := wakeup.Open(settings.New(nil, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	w.Wake()
}

func TestSettings(t *testing.T) {
	for value, good := range map[string]bool{
		"": true, "submit": true, "submit,http://launch.jobs.svc.cluster.local": true,
		"submit,ftp://x": false, "a b": false, "http://": false, "submit, launch": false,
	} {
		env := settings.New(map[string]string{"WAKE": value, "NAMESPACE": "jobs"}, slog.New(slog.DiscardHandler))
		if _, err := wakeup.Open(env); (err == nil) != good || !good && !strings.Contains(err.Error(), "WAKE") {
			t.Errorf("WAKE=%q: %v", value, err)
		}
	}
}
