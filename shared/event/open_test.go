package event_test

import (
	"log/slog"
	"strings"
	"testing"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
)

func newEnv(vars map[string]string) *platform.Env {
	return platform.New(vars, slog.New(slog.DiscardHandler))
}

func TestOpenSink(t *testing.T) {
	env := newEnv(map[string]string{"STORAGE_DIR": t.TempDir(), "K_SINK": "http://127.0.0.1:1"})
	sink, err := event.OpenSink(env)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := event.OpenSink(env); err != nil || again != sink {
		t.Error("the sink was opened twice")
	}
	bus, err := event.NewBus()
	if err != nil {
		t.Fatal(err)
	}
	event.SetSink(env, bus)
	if got, err := event.OpenSink(env); err != nil || got != bus {
		t.Errorf("OpenSink = %v, %v; want the one that was set", got, err)
	}
	if got, err := event.OpenSink(newEnv(nil)); err == nil || !strings.Contains(err.Error(), "K_SINK") {
		t.Errorf("OpenSink = %v, %v; want an error that names K_SINK", got, err)
	}
}
