package platform_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/settings"
)

const key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

func newEnv(vars map[string]string) *platform.Env {
	return platform.New(vars, slog.New(slog.DiscardHandler))
}

func TestParts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e := newEnv(map[string]string{"STORAGE_DIR": dir, "TOKEN_KEYS": key})
	s, err := e.Store()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.Store(); err != nil || again != s {
		t.Error("the bucket was opened twice")
	}
	if _, err := e.Ledger(); err != nil {
		t.Error(err)
	}
	if _, err := e.Keys(); err != nil {
		t.Error(err)
	}
}

// TestCheckEnv has everything wrong at once that does not follow from something else.
func TestCheckEnv(t *testing.T) {
	var own struct {
		Max settings.Size `env:"MAX_UPLOAD_BYTES"`
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := newEnv(map[string]string{"STORAGE_DIR": file, "MAX_UPLOAD_BYTES": "much"})
	err := env.Check(&own)
	for _, name := range []string{"STORAGE_DIR: ", "TOKEN_KEYS is required", "MAX_UPLOAD_BYTES: "} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want also %s", err, name)
		}
	}
	env = newEnv(map[string]string{"STORAGE_DIR": t.TempDir(), "MAX_UPLOAD_BYTES": "1Gi", "TOKEN_KEYS": key})
	if err := env.Check(&own); err != nil {
		t.Error(err)
	}
}

func TestWrongFolder(t *testing.T) {
	_, err := newEnv(map[string]string{"STORAGE_DIR": "/dev/null/x"}).Store()
	if err == nil || !strings.Contains(err.Error(), "STORAGE_DIR") {
		t.Errorf("Store: %v; want an error that names STORAGE_DIR", err)
	}
}
