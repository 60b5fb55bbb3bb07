package docs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestClients has every client of examples/ run a program, follow it and download what it has left,
// on a server that is open and on one that asks for a key.
func TestClients(t *testing.T) {
	t.Parallel()
	withKey, key := serveWithKey(t)
	for _, server := range []struct{ name, host, key string }{{"open", serve(t), ""}, {"keys", withKey, key}} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			testClients(t, server.host, server.key)
		})
	}
}

// serveWithKey starts a server that asks for a key, and returns its host and port, and the key of a
// user.
func serveWithKey(t *testing.T) (host, key string) {
	t.Helper()
	s := start(t, "localhost:"+freePort(t), t.TempDir(), "AUTH=keys")
	admin := ""
	for deadline := time.Now().Add(patience); admin == ""; time.Sleep(20 * time.Millisecond) {
		if admin = keyText.FindString(s.stdout.String()); time.Now().After(deadline) {
			t.Fatal("the server prints no key")
		}
	}
	body := strings.NewReader(`{"name":"ci","role":"user"}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.host+"/api/v1/keys", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+admin)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var made struct{ Key string }
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %v", resp.Status, err)
	}
	return s.host, made.Key
}

func testClients(t *testing.T, host, key string) {
	clients := map[string]func(t *testing.T) []string{
		"go": func(t *testing.T) []string {
			path, err := build("client", "go-job-orchestrator/examples/clients/go")
			if err != nil {
				t.Fatal(err)
			}
			return []string{path}
		},
		"python": pythonWithRequests,
		"javascript": func(t *testing.T) []string {
			return []string{interpreter(t, "node"), example(t, "clients/javascript/client.mjs")}
		},
	}
	for name, line := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			results := filepath.Join(t.TempDir(), "results")
			run := func(program string, args ...string) (stdout, stderr string, code int) {
				args = slices.Concat(line(t), []string{"http://" + host, program, results}, args)
				cmd := exec.CommandContext(ctx, args[0], args[1:]...)
				cmd.Env = append(os.Environ(), "GOJOB_KEY="+key)
				var out, errs strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &errs
				_ = cmd.Run()
				return out.String(), errs.String(), cmd.ProcessState.ExitCode()
			}
			stdout, stderr, code := run(example(t, "words.py"), "alpha", "$(beta)")
			if diff := cmp.Diff("1 alpha\n2 $(beta)\n", stdout); diff != "" || code != 0 {
				t.Errorf("ended with %d: %s\nlog (-want +got):\n%s", code, stderr, diff)
			}
			for output, want := range map[string]string{"count.txt": "2 words\n", "stdout.log": stdout, "stderr.log": ""} {
				got, err := os.ReadFile(filepath.Join(results, output))
				if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
					t.Errorf("%s: %v (-want +got):\n%s", output, err, diff)
				}
			}
			if stdout, stderr, code := run(example(t, "flaky.py")); code != 1 || !strings.Contains(stderr, "Failed") {
				t.Errorf("a program that fails: ended with %d: %s%s", code, stdout, stderr)
			}
			long := filepath.Join(t.TempDir(), strings.Repeat("x", 240))
			if err := os.WriteFile(long, []byte("#!/bin/sh\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, stderr, code := run(long); code != 1 || !strings.Contains(stderr, "422") {
				t.Errorf("a name that is too long: ended with %d: %s", code, stderr)
			}
		})
	}
}

// TestGojobScripts has the scripts that use gojob run jobs, on a server that is open and on one that
// asks for a key.
func TestGojobScripts(t *testing.T) {
	t.Parallel()
	path, err := gojob()
	if err != nil {
		t.Fatal(err)
	}
	withKey, key := serveWithKey(t)
	for _, server := range []struct{ name, host, key string }{{"open", serve(t), ""}, {"keys", withKey, key}} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			run := func(args ...string) (stdout, stderr string, code int) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				cmd := exec.CommandContext(ctx, args[0], args[1:]...)
				cmd.Dir, cmd.Env = dir, []string{
					"PATH=" + filepath.Dir(path) + string(filepath.ListSeparator) + searchPath(), "HOME=" + dir,
					"GOJOB_URL=http://" + server.host, "GOJOB_TOKEN=" + server.key,
				}
				var out, errs strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &errs
				_ = cmd.Run()
				return out.String(), errs.String(), cmd.ProcessState.ExitCode()
			}
			python, sweep, report := interpreter(t, "python3"), example(t, "clients/gojob/sweep.py"), example(t, "clients/gojob/report.sh")
			words, flaky := example(t, "words.py"), example(t, "flaky.py")
			want := "alpha Succeeded Completed 0 1 alpha\nbeta Succeeded Completed 0 1 beta\n"
			if stdout, stderr, code := run(python, sweep, words, "alpha", "beta"); stdout != want || code != 0 {
				t.Errorf("sweep.py ended with %d:\n%s%s", code, stdout, stderr)
			}
			if stdout, stderr, code := run(python, sweep, flaky, "x"); !strings.HasPrefix(stdout, "x Failed Error ") || code != 1 {
				t.Errorf("sweep.py of a program that fails ended with %d:\n%s%s", code, stdout, stderr)
			}
			if stdout, stderr, code := run(report, words, "kept", "alpha"); code != 0 {
				t.Errorf("report.sh ended with %d:\n%s%s", code, stdout, stderr)
			}
			for output, want := range map[string]string{"count.txt": "1 words\n", "stdout.log": "1 alpha\n"} {
				if got, err := os.ReadFile(filepath.Join(dir, "kept", output)); string(got) != want {
					t.Errorf("%s: %q %v", output, got, err)
				}
			}
			var record struct{ Phase string }
			text, err := os.ReadFile(filepath.Join(dir, "kept", "job.json"))
			if err := errors.Join(err, json.Unmarshal(text, &record)); err != nil || record.Phase != "Succeeded" {
				t.Errorf("job.json: %v %s", err, text)
			}
			if stdout, stderr, code := run(report, flaky, "failed"); code == 0 || !strings.Contains(stderr, "failed; the end of its log:") {
				t.Errorf("report.sh of a program that fails ended with %d:\n%s%s", code, stdout, stderr)
			}
		})
	}
}

func example(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// interpreter returns the path of a command, and skips the test when there is none.
func interpreter(t *testing.T, name string) string {
	t.Helper()
	for dir := range strings.SplitSeq(searchPath(), string(filepath.ListSeparator)) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("SKIPPED: there is no %s", name)
	return ""
}

// pythonWithRequests returns the command of the client in Python. Where there is no requests it is
// installed for this test.
func pythonWithRequests(t *testing.T) []string {
	t.Helper()
	python, client := interpreter(t, "python3"), example(t, "clients/python/client.py")
	if exec.Command(python, "-c", "import requests").Run() == nil {
		return []string{python, client}
	}
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	venv := filepath.Join(dir, "venv")
	if out, err := exec.Command(python, "-m", "venv", venv).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: python has neither requests nor venv: %v\n%s", err, out)
	}
	if out, err := exec.Command(venv+"/bin/pip", "install", "--quiet", "requests").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: python has no requests, and it cannot be installed: %v\n%s", err, out)
	}
	return []string{venv + "/bin/python", client}
}

// TestAction runs the step of the workflow.
func TestAction(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("SKIPPED: there is no jq, which GitHub's runners have")
	}
	text, err := os.ReadFile(example(t, "github-action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Run string
				Env map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &workflow); err != nil {
		t.Fatal(err)
	}
	host, key := serveWithKey(t)
	dir, ran := t.TempDir(), 0
	if err := os.Symlink(filepath.Dir(example(t, "words.py")), dir+"/examples"); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"ORCHESTRATOR": "http://" + host, "GOJOB_KEY": key, "RUN": "17-1"}
	for _, step := range workflow.Jobs["job"].Steps {
		if step.Run == "" {
			continue
		}
		ran++
		cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step.Run)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
		for name := range step.Env {
			cmd.Env = append(cmd.Env, name+"="+values[name])
		}
		out, err := cmd.CombinedOutput()
		want := regexp.MustCompile(`^::add-mask::[A-Za-z0-9_-]{43}\n1 alpha\n2 beta\nSucceeded: Completed\n$`)
		if err != nil || !want.Match(out) {
			t.Errorf("%v:\n%s", err, out)
		}
		if head, err := os.ReadFile(dir + "/outputs.zip"); err != nil || !strings.HasPrefix(string(head), "PK") {
			t.Errorf("outputs.zip: %v: %.20q", err, head)
		}
	}
	if ran != 1 {
		t.Errorf("%d steps ran", ran)
	}
}
