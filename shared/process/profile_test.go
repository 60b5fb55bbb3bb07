package process

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/sandbox"
)

// openProfiles opens profiles as a host does whose storage is a folder.
func openProfiles(t *testing.T, storage, document string) (*profile.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sandbox.Open(t.Context(), sandbox.Config{Mode: sandbox.Off, HidePaths: []string{storage}})
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{Sandbox: s}
	env := platform.New(map[string]string{"PROFILES_FILE": path}, slog.New(slog.DiscardHandler))
	return profile.Open(env, h.checkProfiles)
}

func TestAllowance(t *testing.T) {
	profiles, err := openProfiles(t, "/srv/storage", `
profiles:
  big:
    process:
      env: {MODEL: a, B: b}
      readPaths: [/opt/models]
      maxProcesses: 9
      maxOpenFiles: 99
      maxWorkspaceBytes: 1Gi
      maxWorkspaceFiles: 0
  some:
    process: {maxOpenFiles: 77}
`)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{profiles: profiles, settings: &Settings{MaxProcesses: 5, MaxOpenFiles: 64, MaxWorkspace: 1000,
		MaxWorkspaceFiles: 10}}
	type result struct {
		Processes, OpenFiles int
		Bytes, Files         int64
		Paths                []string
		Env                  map[string]string
	}
	for name, want := range map[string]result{
		"":     {5, 64, 1000, 10, nil, nil},
		"gone": {5, 64, 1000, 10, nil, nil},
		"some": {5, 77, 1000, 10, nil, nil},
		"big":  {9, 99, 1 << 30, 0, []string{"/opt/models"}, map[string]string{"MODEL": "a", "B": "b"}},
	} {
		index := &job.Index{Spec: job.Spec{Profile: name}}
		a := r.allowance(index)
		got := result{a.processes, a.openFiles, a.workspaceBytes, a.workspaceFiles, a.readPaths, a.env}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
		if err := r.checkProfile(index); (err != nil) != (name == "gone") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestWithDefaults(t *testing.T) {
	got := withDefaults([]string{"PATH=/bin", "A=", "B=x=y"}, map[string]string{"PATH": "/x", "A": "1", "C": "c", "D": "d"})
	if diff := cmp.Diff([]string{"PATH=/bin", "A=", "B=x=y", "C=c", "D=d"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReadPaths refuses those that would show a program the storage.
func TestReadPaths(t *testing.T) {
	storage := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(storage, link); err != nil {
		t.Fatal(err)
	}
	_, err := openProfiles(t, storage, "profiles: {a: {process: {readPaths: [/, "+filepath.Dir(storage)+", "+storage+", "+
		storage+"/x, "+link+", /opt/models]}}, b: {process: {deny: 1}}}")
	for _, part := range []string{"readPaths[0]", "readPaths[1]", "readPaths[2]", "readPaths[3]", "readPaths[4]", "profiles.b.process.deny"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not named: %v", part, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "readPaths[5]") {
		t.Errorf("/opt/models is refused: %v", err)
	}
}
