package intake_test

import (
	"log/slog"
	"strings"
	"testing"

	"go-job-orchestrator/functions/intake"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
)

// TestOpen demands that all that is wrong with the settings is named at once.
func TestOpen(t *testing.T) {
	vars := map[string]string{"STORAGE_DIR": t.TempDir(), "TOKEN_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"K_SINK": "http://localhost:1"}
	open := func() error {
		env := platform.New(vars, slog.New(slog.DiscardHandler))
		events, err := event.Open(env, nil)
		if err != nil {
			return err
		}
		_, err = intake.Open(admission.Deps{Env: env, Events: events, Backend: backend.AnyRuntime{}})
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	faulty := []string{"MAX_EVENT_BYTES", "MAX_FILES", "MAX_CHAINED_JOBS", "UPLOAD_TIMEOUT"}
	for _, name := range faulty {
		vars[name] = "0"
	}
	vars["TOKEN_KEYS"], vars["K_SINK"] = "", ""
	err := open()
	for _, name := range append(faulty, "TOKEN_KEYS", "K_SINK") {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}
