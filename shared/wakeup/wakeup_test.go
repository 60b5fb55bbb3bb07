package wakeup_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/wakeup"
)

// TestWake calls each function once for many requests, and again when a while has passed. It never
// waits for an answer.
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
	now = now.Add(10 * time.Second)
	w.Wake()
	now = now.Add(11 * time.Second)
	w.Wake()
	both("after a while")
	if len(calls) != 0 {
		t.Errorf("called once more: %s", <-calls)
	}
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
