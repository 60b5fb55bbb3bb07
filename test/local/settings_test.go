package local

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
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
	return runCommand(exec.CommandContext(timeout(t), path), env...)
}

func runCommand(cmd *exec.Cmd, env ...string) (output string, code int) {
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

// TestJobs asks for jobs that this build cannot run.
func TestJobs(t *testing.T) {
	t.Parallel()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	for jobs, want := range map[string]string{
		"pods":       `JOBS: \"pods\" is not one of processes, kubernetes`,
		"kubernetes": "make run JOBS=kubernetes",
	} {
		out, code := run(t, path, "STORAGE_DIR="+t.TempDir(), "PORT="+freePort(t), "JOBS="+jobs)
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("JOBS=%s: exit code %d and\n%s", jobs, code, out)
		}
	}
}

// TestFaultsOfAllKinds makes sure that faults of values, of secrets and of folders are reported
// together, each once.
func TestFaultsOfAllKinds(t *testing.T) {
	t.Parallel()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := run(t, path, "STORAGE_DIR="+file, "TOKEN_KEYS=secret", "PORT="+freePort(t), "MAX_FILES=0",
		"MAX_UPLOAD_BYTES=0",
		"KILL_GRACE=-1s", "DRAIN_TIMEOUT=-1s", "RETRY_BACKOFF=-1s", "REAP_INTERVAL=-1s", "MAX_OUTPUT_FILES=99999999999",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=x")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{
		"STORAGE_DIR:", "TOKEN_KEYS:", "MAX_FILES:", "MAX_UPLOAD_BYTES", "KILL_GRACE:", "DRAIN_TIMEOUT:", "RETRY_BACKOFF:",
		"REAP_INTERVAL:", "MAX_OUTPUT_FILES:", "OTEL_EXPORTER_OTLP_PROTOCOL:",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT:",
	} {
		if n := strings.Count(out, want); n != 1 {
			t.Errorf("the fault of %s is named %d times in:\n%s", want, n, out)
		}
	}
	if strings.Contains(out, "strconv") || strings.Contains(out, "secret") {
		t.Errorf("the answer tells what is of no use, or what is nobody's business:\n%s", out)
	}
	for setting, want := range map[string]string{
		"PORT=65536": `PORT: \"65536\" is out of range`,
		"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318": `OTEL_EXPORTER_OTLP_ENDPOINT: \"localhost:4318\" is not the URL`,
	} {
		if out, code := run(t, path, "STORAGE_DIR="+t.TempDir(), setting); code != 1 || !strings.Contains(out, want) {
			t.Errorf("%s ended with %d: %s", setting, code, out)
		}
	}
}

// TestSmallSizes makes sure that a size may be smaller than any program's memory, and that 0 turns
// a reserve off.
func TestSmallSizes(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_FIELD_BYTES=1Ki", "MIN_FREE_BYTES=0", "MAX_UPLOAD_BYTES=64Ki")
	must(t, s.submit(script("true\n")).wait(), job.Succeeded, job.ReasonCompleted)
	resp, data, err := s.post(script("true\n", "arg="+strings.Repeat("x", 1025)))
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge ||
		!strings.Contains(string(data), "1024 bytes (MAX_FIELD_BYTES)") {
		t.Errorf("a field of 1025 bytes: %v %s %s", err, resp.Status, data)
	}
}

// TestHost makes sure that the greeting names an address that answers.
func TestHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"": ", storing in", "0.0.0.0": "(0.0.0.0:", "::": "([::]:", "127.0.0.1": ", storing in", "localhost": ", storing in",
	} {
		s := start(t, t.TempDir(), "HOST="+host, "SANDBOX=off")
		s.says("Listening on http://localhost:")
		s.says(want)
		others := strings.Contains(s.output.String(), "reachable from other machines")
		if open := strings.HasPrefix(want, "("); others != open {
			t.Errorf("HOST=%s: that others can reach it is said: %v, want %v:\n%s", host, others, open, s.output)
		}
		s.kill()
	}
}

// TestCommandLine runs every command with --help, --version and wrong arguments. No command may
// start anything.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	dir, err := commands()
	if err != nil {
		t.Fatal(err)
	}
	given := func(name, arg string) (output string, code int) {
		return runCommand(exec.CommandContext(timeout(t), filepath.Join(dir, name), arg))
	}
	for _, name := range []string{
		"agent", "all", "artifacts", "cancel", "deadletter", "front", "launch", "logs", "outputs", "reap", "status", "submit",
	} {
		for arg, want := range map[string]struct {
			code int
			says string
		}{
			"--help": {0, "Usage: " + name}, "-h": {0, "Usage: " + name}, "--version": {0, name + " "},
			"--hepl": {2, "did you mean --help?"}, "nonsense": {2, `unknown argument "nonsense"`},
		} {
			out, code := given(name, arg)
			if code != want.code || !strings.Contains(out, want.says) {
				t.Errorf("%s %s ended with %d: %s", name, arg, code, out)
			}
		}
	}
	out, _ := given("all", "--help")
	for _, want := range []string{"\n  HOST=127.0.0.1\n", "\n  PORT=8080\n", "\n  MAX_UPLOAD_BYTES=", "\n  SANDBOX="} {
		if !strings.Contains(out, want) {
			t.Errorf("the help lacks %q:\n%s", want, out)
		}
	}
	if out, code := given("all", "--port=9000"); code != 2 || !strings.Contains(out, "set PORT=9000") {
		t.Errorf("--port=9000 ended with %d: %s", code, out)
	}
}

// TestSecondInterrupt sends Ctrl-C twice while a job runs. After the first the server waits for the
// job, after the second it ends at once.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "DRAIN_TIMEOUT=1h")
	j := s.submit(script("echo begun; exec sleep 1000\n"))
	j.running("begun")
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.says("press Ctrl-C again to end at once")
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-s.stopped
	if code := s.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130:\n%s", code, s.output)
	}
}

// TestOtherSite makes sure that no page of another site can have a browser run a program here.
func TestOtherSite(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	for name, header := range map[string]map[string]string{
		"a form of another site":             {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
		"an old browser":                     {"Origin": "https://elsewhere.example"},
		"a page of another port":             {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
		"a sandboxed frame, or a local file": {"Origin": "null"},
	} {
		f := script("true\n")
		f.header = header
		resp, data, err := s.post(f)
		if err != nil || resp.StatusCode != http.StatusForbidden ||
			resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v %s %s", name, err, resp.Status, data)
		}
	}
	req, err := http.NewRequest(http.MethodGet, s.url+"/api/v1/jobs", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a list: %s", resp.Status)
	}
	f := script("true\n")
	f.header = map[string]string{"Origin": s.url, "Sec-Fetch-Site": "same-origin"}
	must(t, s.submit(f).wait(), job.Succeeded, job.ReasonCompleted)
}

// TestGreeting makes sure that the first line says what a newcomer needs.
func TestGreeting(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "PATH="+os.Getenv("PATH"))
	s.says("/api/v1/jobs\n") // with which the greeting ends
	var line string
	for l := range strings.Lines(s.output.String()) {
		if strings.HasPrefix(l, "Listening") {
			line = l
		}
	}
	for _, want := range []string{"http://localhost:", s.dir, "python 3", "binary", "sandbox: ", "jobs at a time",
		"curl -F runtime="} {
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

// TestTimesOutOfBounds makes sure that no value of a setting makes the server loop without a pause,
// or makes a time overflow.
func TestTimesOutOfBounds(t *testing.T) {
	t.Parallel()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	for value, names := range map[string][]string{
		"0s":  {"RETRY_BACKOFF", "REAP_INTERVAL", "UPLOAD_TIMEOUT", "START_TIMEOUT", "STALL_TIMEOUT"},
		"1ns": {"RETRY_BACKOFF", "REAP_INTERVAL", "UPLOAD_TIMEOUT", "START_TIMEOUT", "STALL_TIMEOUT", "FOLLOW_TIMEOUT"},
		"2562047h": {"RETRY_BACKOFF", "REAP_INTERVAL", "UPLOAD_TIMEOUT", "START_TIMEOUT", "STALL_TIMEOUT", "FOLLOW_TIMEOUT",
			"KILL_GRACE", "DRAIN_TIMEOUT"},
	} {
		env := []string{"STORAGE_DIR=" + t.TempDir(), "PORT=" + freePort(t)}
		for _, name := range names {
			env = append(env, name+"="+value)
		}
		out, code := run(t, path, env...)
		for _, name := range names {
			if code != 1 || strings.Count(out, name+":") != 1 {
				t.Errorf("%s=%s: exit code %d:\n%s", name, value, code, out)
			}
		}
		if !strings.Contains(out, "set at ") {
			t.Errorf("%s: what can be set is not said:\n%s", value, out)
		}
	}
}
