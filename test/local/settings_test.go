package local

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func decodeSent(t *testing.T, s *server, data []byte) *sent {
	t.Helper()
	j := &sent{s: s}
	if err := json.Unmarshal(data, j); err != nil {
		t.Error(err)
	}
	return j
}

// run runs a command to its end with just these variables.
func run(t *testing.T, path string, env ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(timeout(t), path)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TestFaultySettings makes sure that all faults are named at once, before the port opens.
func TestFaultySettings(t *testing.T) {
	t.Parallel()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	out, code := run(t, path, "STORAGE_DIR="+t.TempDir(), "PORT="+freePort(t),
		"MAX_CONCURRENT_JOBS=many", "SANDBOX=maybe", "MAX_WORKSPACE_BYTES=lots", "MAX_FILES=-1", "REAP_INTERVAL=soon")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{"MAX_CONCURRENT_JOBS", "SANDBOX", "MAX_WORKSPACE_BYTES", "MAX_FILES", "REAP_INTERVAL"} {
		if !strings.Contains(out, want) {
			t.Errorf("the fault of %s is not named in:\n%s", want, out)
		}
	}
}

// TestGreeting makes sure that the first line says what a newcomer needs.
func TestGreeting(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	var line string
	for l := range strings.Lines(s.output.String()) {
		if strings.HasPrefix(l, "Listening") {
			line = l
		}
	}
	for _, want := range []string{"http://localhost:", s.dir, "python 3", "binary", "sandbox: ", "jobs at a time", "curl -F runtime="} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in the greeting: %q", want, line)
		}
	}
}

// TestKey makes sure that the key of tokens is made once, for its owner only.
func TestKey(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	path := filepath.Join(s.dir, ".local", "token.key")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode of the key is %o, want 600", got)
	}
	j := s.submit(script("echo x\n"))
	j.wait()
	s.restart()
	if got := j.logs("tail=all"); got != "x\n" {
		t.Errorf("after a restart the token gives %q", got)
	}
}
