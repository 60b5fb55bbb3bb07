package agent

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go-job-orchestrator/shared/executor"
)

func TestStoppable(t *testing.T) {
	for name, test := range map[string]struct {
		status string
		want   bool
	}{
		"an agent that handles SIGTERM":   {"Name:\tagent\nUmask:\t0022\nSigCgt:\tfffffffd7fc1feff\n", true},
		"SIGTERM alone":                   {"Name:\tagent\nSigCgt:\t0000000000004000\n", true},
		"an agent that has just begun":    {"Name:\tagent\nSigCgt:\t0000000000000000\n", false},
		"all signals but SIGTERM":         {"Name:\tagent\nSigCgt:\tffffffffffffbfff\n", false},
		"SIGTERM is ignored, not handled": {"Name:\tagent\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n", false},
		"the container runtime":           {"Name:\trunc:[2:INIT]\nSigCgt:\tfffffffd7fc1feff\n", false},
		"no number":                       {"Name:\tagent\nSigCgt:\tx\n", false},
		"nothing":                         {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := stoppable(test.status); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestAwaitStoppable looks at real processes that are named like the agent: a shell, whose handler
// of SIGTERM comes late, and one that never has a handler.
func TestAwaitStoppable(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	agent := filepath.Join(t.TempDir(), executor.PodAgentName)
	data, err := os.ReadFile(sh)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(agent, data, 0o755); err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, script string) (pid int, release func()) {
		t.Helper()
		c := exec.CommandContext(t.Context(), agent, "-c", script)
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
		return c.Process.Pid, func() { in.Write([]byte("go\n")) } //nolint:errcheck // the test would wait in vain
	}
	t.Run("late", func(t *testing.T) {
		pid, release := start(t, `read line; trap "exit 0" TERM; while read line; do :; done`)
		done := make(chan error, 1)
		go func() { done <- awaitStoppable(t.Context(), pid) }()
		select {
		case err := <-done:
			t.Fatalf("returned before the process handles SIGTERM: %v", err)
		case <-time.After(4 * lastPause): // time for some looks; more time finds nothing else
		}
		release()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("never", func(t *testing.T) {
		pid, _ := start(t, `while read line; do :; done`)
		ctx, stop := context.WithTimeout(t.Context(), 4*lastPause)
		defer stop()
		if err := awaitStoppable(ctx, pid); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		if err := awaitStoppable(t.Context(), 1<<30); err != nil {
			t.Error(err)
		}
	})
}
