//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builtGojob is the command line as its users build it.
var builtGojob = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gojob-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "gojob")
	out, err := exec.Command("go", "build", "-o", path, "go-job-orchestrator/cmd/gojob").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build gojob: %w: %s", err, out)
	}
	return path, nil
})

// commandLine is gojob with a home folder of its own, in a working directory of its own.
type commandLine struct {
	t    *testing.T
	dir  string
	path string
	url  string
	env  []string
}

// answer is what a command printed and how it ended.
type answer struct {
	stdout, stderr string
	code           int
}

func newCommandLine(t *testing.T, s *service) *commandLine {
	t.Helper()
	path, err := builtGojob()
	if err != nil {
		t.Fatal(err)
	}
	dir, home := t.TempDir(), t.TempDir()
	g := &commandLine{t: t, dir: dir, path: path, url: s.url, env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"),
		"XDG_CONFIG_HOME=" + home + "/config", "XDG_STATE_HOME=" + home + "/state"}}
	if proxy := os.Getenv(proxyVariable); proxy != "" {
		g.env = append(g.env, "HTTP_PROXY="+proxy)
	}
	if login := g.with(s.key+"\n", "login", s.url); login.code != 0 {
		t.Fatalf("login: %+v", login)
	}
	return g
}

// file writes a file into the working directory.
func (g *commandLine) file(name, text string) {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		g.t.Fatal(err)
	}
}

// start begins a command.
func (g *commandLine) start(ctx context.Context, input string, args ...string) (*exec.Cmd, func() answer) {
	g.t.Helper()
	cmd := exec.CommandContext(ctx, g.path, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = g.dir, g.env, strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	return cmd, func() answer {
		err := cmd.Wait()
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			g.t.Fatalf("gojob %s: %v", strings.Join(args, " "), err)
		}
		return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	}
}

// with runs a command with an input.
func (g *commandLine) with(input string, args ...string) answer {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 5*time.Minute)
	defer cancel()
	_, end := g.start(ctx, input, args...)
	return end()
}

// does runs a command, which must succeed, and returns what it writes to its standard output.
func (g *commandLine) does(args ...string) string {
	g.t.Helper()
	a := g.with("", args...)
	if a.code != 0 {
		g.t.Errorf("gojob %s: exit code %d\n%s%s", strings.Join(args, " "), a.code, a.stdout, a.stderr)
	}
	return a.stdout
}

// TestGojob uses the cluster by the command line: every command, and the exit codes that only a
// cluster gives.
func TestGojob(t *testing.T) {
	t.Parallel()
	g := newCommandLine(t, installed(t))
	g.file("words.py", "import sys, os\nfor n, w in enumerate(sys.argv[1:], 1):\n    print(n, w)\n"+
		"print('careful', file=sys.stderr)\nopen('results/count.txt', 'w').write(str(len(sys.argv) - 1) + '\\n')\n")
	if got := g.does("whoami"); !strings.Contains(got, "admin") {
		t.Errorf("whoami: %s", got)
	}
	got := g.with("", "run", "--out", ".", "words.py", "alpha", "--beta")
	if got.code != 0 || got.stdout != "1 alpha\n2 --beta\n" || !strings.Contains(got.stderr, "careful\n") ||
		!strings.Contains(got.stderr, "succeeded") {
		t.Errorf("run: %+v", got)
	}
	if data, err := os.ReadFile(filepath.Join(g.dir, "count.txt")); err != nil || string(data) != "2\n" {
		t.Errorf("the output is %q, %v", data, err)
	}
	var last struct{ JobID, Phase string }
	if err := json.Unmarshal([]byte(g.does("get", "@", "-o", "json")), &last); err != nil || last.Phase != "Succeeded" {
		t.Errorf("get: %+v, %v", last, err)
	}
	for _, test := range []struct {
		want string
		args []string
	}{
		{"1 alpha\n", []string{"logs", "@", "--stream", "stdout"}},
		{"2\n", []string{"cp", "@:count.txt", "-"}},
		{last.JobID[:12], []string{"ls", "--limit", "50"}},
		{last.JobID, []string{"ls", "-o", "name", "--phase", "Succeeded", "--limit", "50"}},
		{"3 gamma\n", []string{"rerun", last.JobID[:12], "alpha", "beta", "gamma"}},
	} {
		if out := g.does(test.args...); !strings.Contains(out, test.want) {
			t.Errorf("gojob %s: %q lacks %q", strings.Join(test.args, " "), out, test.want)
		}
	}
	g.does("wait", last.JobID, "@")
	g.does("doctor")
	token, _, _ := strings.Cut(g.does("share", last.JobID, "--expires", "10m"), "\n")
	shared := *g
	shared.env = append(slices.Clone(g.env), "GOJOB_TOKEN="+token)
	if got := shared.does("--url", g.url, "logs", last.JobID, "--stream", "stdout"); !strings.Contains(got, "1 alpha\n") {
		t.Errorf("with the shared token: %q", got)
	}
	if got := shared.with("", "--url", g.url, "rm", last.JobID); got.code != 4 {
		t.Errorf("the shared token removes: %+v", got)
	}
	g.does("template", "set", "gojob-words", "words.py")
	if got := g.does("template", "run", "gojob-words", "delta"); got != "1 delta\n" {
		t.Errorf("of a template: %q", got)
	}
	g.does("template", "rm", "gojob-words")
	g.does("rm", last.JobID, "@")
	if got := g.with("", "get", last.JobID); got.code != 3 {
		t.Errorf("removed: %+v", got)
	}
}

// TestGojobEnds has programs end in every way that the command line tells apart.
func TestGojobEnds(t *testing.T) {
	t.Parallel()
	g := newCommandLine(t, installed(t))
	g.file("exit.sh", "#!/bin/sh\nexit $1\n")
	g.file("kill.sh", "#!/bin/sh\nkill -9 $$\n")
	g.file("sleep.sh", "#!/bin/sh\necho begun\nexec sleep 1000\n")
	g.file("eat.py", "x = []\nwhile True:\n    x.append(bytearray(1 << 20))\n")
	g.file("project/pkg/__init__.py", "")
	g.file("project/pkg/text.py", "WORD = 'packed'\n")
	g.file("project/main.py", "import os, sys\nfrom pkg.text import WORD\n"+
		"print(WORD, open('data.txt').read().strip(), sys.stdin.read().strip(), os.environ['MODE'], len(os.environ['KEY']))\n")
	g.file("project/data.txt", "data\n")
	g.file("project/ignored.log", "no\n")
	g.file("project/.gitignore", "*.log\n")
	g.file("input.txt", "input\n")
	for name, test := range map[string]struct {
		args []string
		code int
		want string // in what is printed
	}{
		"an exit code": {[]string{"run", "exit.sh", "7"}, 7, "7"},
		"a signal":     {[]string{"run", "kill.sh"}, 137, ""},
		"a deadline":   {[]string{"run", "--timeout", "20s", "sleep.sh"}, 124, "begun"},
		"memory":       {[]string{"run", "-m", "64MB", "eat.py"}, 137, "memory"},
		"refused":      {[]string{"run", "--profile", "no-such-profile", "exit.sh", "0"}, 125, "profile"},
		"no image":     {[]string{"run", "--image", "registry.invalid/none:1", "exit.sh", "0"}, 125, "image"},
		"a folder": {[]string{"run", "-e", "MODE=full", "-s", "KEY=hunter2hunter2", "--stdin", "input.txt", "project"}, 0,
			"packed data input full 14"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := *g
			mine.t = t
			got := mine.with("", test.args...)
			if got.code != test.code || !strings.Contains(got.stdout+got.stderr, test.want) {
				t.Errorf("exit code %d, want %d; printed %q", got.code, test.code, got.stdout+got.stderr)
			}
		})
	}
	t.Run("detached and cancelled", func(t *testing.T) {
		t.Parallel()
		mine := *g
		mine.t = t
		cmd, end := mine.start(t.Context(), "", "run", "--name", "gojob-detached", "sleep.sh")
		deadline := time.Now().Add(2 * time.Minute)
		for !strings.Contains(mine.with("", "ls", "--name", "gojob-detached").stdout, "unning") {
			if time.Now().After(deadline) {
				t.Fatal("the job does not run")
			}
			time.Sleep(time.Second)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if got := end(); got.code != 130 || !strings.Contains(got.stderr, "gojob logs -f") {
			t.Errorf("interrupted: %+v", got)
		}
		mine.does("cancel", "gojob-detached")
		if got := mine.with("", "wait", "gojob-detached"); got.code == 0 {
			t.Errorf("a cancelled job is no success: %+v", got)
		}
		mine.does("rm", "gojob-detached")
	})
}
