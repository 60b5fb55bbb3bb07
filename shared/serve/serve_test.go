package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/command"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/version"
)

// TestLogBeginsWithTheVersion runs a process that stops at once.
func TestLogBeginsWithTheVersion(t *testing.T) {
	args, stderr := os.Args, os.Stderr
	t.Cleanup(func() { os.Args, os.Stderr = args, stderr })
	path := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	os.Args, os.Stderr = []string{"server"}, log
	code := Run(command.Usage{}, func(context.Context, *settings.Env) error { return errors.New("no port") })
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	v := version.Get()
	for _, want := range []string{"msg=starting", "version=" + v.Version, "commit=" + v.Commit, "date=" + v.Date, "go=" +
		v.Go} {
		if !strings.Contains(first, want) {
			t.Errorf("the first line %q has no %s", first, want)
		}
	}
	if code != 1 || !strings.Contains(rest, "no port") {
		t.Errorf("ended with %d, after %q", code, rest)
	}
}

func TestFaultsAreToldOnce(t *testing.T) {
	err := errors.Join(
		errors.New("settings: UPLOAD_TIMEOUT: 0s is too short; set at least 100ms"),
		errors.New("STORAGE_DIR: is a file"),
		errors.New("settings: REAP_INTERVAL: 0s is too short; set at least 10ms; UPLOAD_TIMEOUT: 0s is too short; set at "+
			"least 100ms; A, B: 0; set at least 10ms"),
		errors.New("STORAGE_DIR: is a file"),
		errors.New("settings: UPLOAD_TIMEOUT: 0s is too short; set at least 100ms"),
	)
	want := `settings: UPLOAD_TIMEOUT: 0s is too short; set at least 100ms
STORAGE_DIR: is a file
settings: REAP_INTERVAL: 0s is too short; set at least 10ms; A, B: 0; set at least 10ms`
	if got := distinct(err); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
