package event_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
)

func newEnv(vars map[string]string) *platform.Env {
	return platform.New(vars, slog.New(slog.DiscardHandler))
}

// TestOpen demands that what is to be launched goes to the launcher in the same process, and to
// K_SINK what others may learn of jobs.
func TestOpen(t *testing.T) {
	received := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received <- r.Header.Get("Ce-Type")
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	dir := t.TempDir()
	local := event.Handler(func(_ context.Context, e cloudevent.Event) error {
		received <- "local " + e.Type()
		return nil
	})
	launch := event.NewLaunch("http://jobs.example", id, time.Now())
	submitted := event.New(event.Submitted, "http://jobs.example", id, time.Now())
	for name, test := range map[string]struct {
		sink  string
		local event.Sink
		event cloudevent.Event
		want  []string
	}{
		"in one process":          {"", local, submitted, []string{"local " + event.Submitted}},
		"with a sink as well":     {server.URL, local, submitted, []string{event.Submitted, "local " + event.Submitted}},
		"to launch is not for it": {server.URL, local, launch, []string{"local " + event.Launch}},
		"of a function alone":     {server.URL, nil, launch, []string{event.Launch}},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(map[string]string{"STORAGE_DIR": dir, "K_SINK": test.sink})
			events, err := event.Open(env, test.local)
			if err != nil {
				t.Fatal(err)
			}
			if err := events.Sink.Send(t.Context(), test.event); err != nil {
				t.Fatal(err)
			}
			env.Drain()
			var got []string
			for len(received) > 0 {
				got = append(got, <-received)
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("received (-want +got):\n%s", diff)
			}
		})
	}
	refused := errors.New("refused")
	events, err := event.Open(newEnv(map[string]string{"STORAGE_DIR": dir}), event.Handler(
		func(context.Context, cloudevent.Event) error { return refused }))
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Sink.Send(t.Context(), launch); !errors.Is(err, refused) {
		t.Errorf("Send: %v; want the launcher's answer", err)
	}
	none, err := event.Open(newEnv(map[string]string{"STORAGE_DIR": dir}), nil)
	if err != nil || none.Sink != nil || none.Ledger == nil {
		t.Errorf("Open without a sink = %+v, %v; want the records alone", none, err)
	}
}
