package local

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// odd are arguments that a shell, a template or Kubernetes would change.
var odd = []string{"", " ", "a b", "$(HOME)", "$HOME", "`id`", "*", "-x", "--", "'\"", "line\nbreak", "tab\t", "\\",
	"ünïcödé 🎉", "$$(X)"}

func oddFields(t *testing.T) []string {
	t.Helper()
	half := len(odd) / 2
	list, err := json.Marshal(odd[:half])
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{"args=" + string(list)}
	for _, arg := range odd[half:] {
		fields = append(fields, "arg="+arg)
	}
	return fields
}

// Each program writes its arguments, each in base64 on a line of its own, to outputs/args, and ends
// with code 3.
const (
	pythonArgs = `import base64, os, sys
os.makedirs(os.environ["OUTPUT_DIR"] + "/outputs")
with open("results/outputs/args", "w") as f:
    for a in sys.argv[1:]:
        f.write(base64.b64encode(os.fsencode(a)).decode() + "\n")
sys.exit(3)
`
	nodeArgs = `const fs = require("fs");
fs.mkdirSync(process.env.OUTPUT_DIR + "/outputs");
fs.writeFileSync("results/outputs/args", process.argv.slice(2).map(a => Buffer.from(a).toString("base64") + "\n").join(""));
process.exitCode = 3;
`
	javaArgs = `import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
public class Args {
    public static void main(String[] args) throws Exception {
        Path dir = Paths.get(System.getenv("OUTPUT_DIR"), "outputs");
        Files.createDirectories(dir);
        StringBuilder out = new StringBuilder();
        for (String a : args) out.append(Base64.getEncoder().encodeToString(a.getBytes(StandardCharsets.UTF_8))).append("\n");
        Files.write(dir.resolve("args"), out.toString().getBytes(StandardCharsets.UTF_8));
        System.exit(3);
    }
}
`
	shArgs = `mkdir "$OUTPUT_DIR/outputs"
for a in "$@"; do printf %s "$a" | base64 -w 0; echo; done > results/outputs/args
exit 3
`
)

// compileJava returns a class file and a jar of the program.
func compileJava(t *testing.T, source string) (class, jar string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Args.java"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"javac", "Args.java"}, {"jar", "cfe", "args.jar", "Args", "Args.class"}} {
		cmd := exec.CommandContext(timeout(t), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	return read("Args.class"), read("args.jar")
}

// compileGo returns an executable that does what the others do.
func compileGo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source := `package main
import ("encoding/base64"; "fmt"; "os")
func main() {
	os.Mkdir("results/outputs", 0o755)
	f, _ := os.Create(os.Getenv("OUTPUT_DIR") + "/outputs/args")
	for _, a := range os.Args[1:] { fmt.Fprintln(f, base64.StdEncoding.EncodeToString([]byte(a))) }
	os.Exit(3)
}`
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(timeout(t), "go", "build", "-o", "program", "main.go")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRuntimes runs a program of each kind, which must get its arguments exactly as they were sent.
func TestRuntimes(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	class, jar := compileJava(t, javaArgs)
	tests := []struct {
		name                string
		runtime, entrypoint string
		files               map[string]string
	}{
		{"python", "python", "args.py", map[string]string{"args.py": pythonArgs}},
		{"python with an odd name", "python", "-c ü.py", map[string]string{"-c ü.py": pythonArgs}},
		{"node", "node", "args.js", map[string]string{"args.js": nodeArgs}},
		{"java source", "java", "Args.java", map[string]string{"Args.java": javaArgs}},
		{"java class file", "java", "Args.class", map[string]string{"Args.class": class}},
		{"java class name", "java", "Args", map[string]string{"x.jar": jar}},
		{"java jar", "java", "args.jar", map[string]string{"args.jar": jar}},
		{"script", "binary", "args", map[string]string{"args": "#!/bin/sh\n" + shArgs}},
		{"script of python by env", "binary", "args", map[string]string{"args": "#!/usr/bin/env python3\n" + pythonArgs}},
		{"executable", "binary", "program", map[string]string{"program": compileGo(t)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := s.submit(form{runtime: tt.runtime, entrypoint: tt.entrypoint, files: tt.files, fields: oddFields(t)})
			got := j.wait()
			must(t, got, job.Failed, job.ReasonError)
			if got.ExitCode == nil || *got.ExitCode != 3 {
				t.Fatalf("exit code is %v, want 3; log:\n%s", got.ExitCode, j.logs("tail=all"))
			}
			var args []string
			for line := range strings.Lines(j.output("outputs/args")) {
				arg, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(line, "\n"))
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, string(arg))
			}
			if diff := cmp.Diff(odd, args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(odd, got.Args); diff != "" {
				t.Errorf("arguments in the status (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEnvironment looks at all that a program is given.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	f := python(`import json, os, stat, sys
print(json.dumps({
    "env": dict(os.environ), "cwd": os.getcwd(), "stdin": sys.stdin.read(), "files": sorted(os.listdir(".")),
    "fds": [fd for fd in range(3, 1024) if os.path.exists("/proc/self/fd/%d" % fd)], "uid": os.getuid(), "data": open("data").read(),
}))
`, `env={"A":"b c","EMPTY":"","PERCENT":"100%","lower.dot-dash":"x"}`)
	f.files["data"] = "content"
	j := s.submit(f)
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	var got struct {
		Env   map[string]string
		CWD   string
		Stdin string
		Files []string
		FDs   []int
		UID   int
		Data  string
	}
	if err := json.Unmarshal([]byte(j.logs("tail=all&stream=stdout")), &got); err != nil {
		t.Fatalf("%v in %s", err, j.logs("tail=all"))
	}
	want := map[string]string{
		"PATH": got.Env["PATH"], "HOME": got.CWD, "LANG": "C.UTF-8", "TMPDIR": got.Env["TMPDIR"], "JOB_ID": j.ID,
		"JOB_ATTEMPT": "1", "OUTPUT_DIR": got.CWD + "/results",
		"A": "b c", "EMPTY": "", "PERCENT": "100%", "lower.dot-dash": "x",
	}
	if diff := cmp.Diff(want, got.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"data", "main.py", "results"}, got.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got.Stdin != "" || len(got.FDs) > 0 || got.UID == 0 || got.Data != "content" {
		t.Errorf("the program has stdin %q, files %v, user %d, data %q", got.Stdin, got.FDs, got.UID, got.Data)
	}
}

// TestEndings looks at how programs of many kinds end.
func TestEndings(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_WORKSPACE_BYTES=64Mi", "MAX_WORKSPACE_FILES=5000", "MAX_OUTPUT_BYTES=8Mi",
		"MAX_OUTPUT_FILES=50", "MAX_PROCESSES=100")
	code := func(n int) *int { return &n }
	tests := []struct {
		name    string
		form    form
		phase   job.Phase
		reason  job.Reason
		code    *int
		signal  string
		message string // in the message
	}{
		{"zero", script("exit 0\n"), job.Succeeded, job.ReasonCompleted, code(0), "", ""},
		{"seven", script("exit 7\n"), job.Failed, job.ReasonError, code(7), "", "code 7"},
		{"126 of its own", script("exit 126\n"), job.Failed, job.ReasonError, code(126), "", "code 126"},
		{"255", script("exit 255\n"), job.Failed, job.ReasonError, code(255), "", "code 255"},
		{"SIGKILL", script("kill -9 $$\n"), job.Failed, job.ReasonError, code(137), "SIGKILL", "SIGKILL"},
		{"SIGTERM", script("kill -15 $$\n"), job.Failed, job.ReasonError, code(143), "SIGTERM", "SIGTERM"},
		{"SIGSEGV", script("kill -11 $$\n"), job.Failed, job.ReasonError, code(139), "SIGSEGV", "SIGSEGV"},
		{"exception", python("1/0\n"), job.Failed, job.ReasonError, code(1), "", "code 1"},
		{"no program", form{runtime: "binary", entrypoint: "x", files: map[string]string{"x": "junk"}}, job.Failed,
			job.ReasonCannotRun, nil, "", "#!"},
		{"no interpreter", form{runtime: "binary", entrypoint: "x", files: map[string]string{"x": "#!/no/such\n"}},
			job.Failed, job.ReasonCannotRun, nil, "", "interpreter"},
		{"deadline", script("exec sleep 1000\n", "timeoutSeconds=1"), job.Failed, job.ReasonDeadlineExceeded, code(143),
			"SIGTERM", "timeoutSeconds"},
		{"deadline counts all attempts", script("sleep 0.4; exit 1\n", "timeoutSeconds=1", "retries=50"), job.Failed,
			job.ReasonDeadlineExceeded, nil, "", "timeoutSeconds"},
		{"memory", python("x = bytearray(400 << 20)\nwhile True: pass\n", "memory=64Mi"), job.Failed, job.ReasonOOMKilled,
			code(137), "SIGKILL", "memory"},
		{"memory of a child", python("import os\nif os.fork() == 0:\n    x = bytearray(400 << 20)\n    while True: "+
			"pass\nos.wait()\nwhile True: pass\n", "memory=64Mi"), job.Failed, job.ReasonOOMKilled, code(137), "SIGKILL",
			"memory"},
		{"disk", python("import time\nfor i in range(20):\n    open('big%d' % i, 'wb').write(b'x' * (8 << " +
			"20))\ntime.sleep(1000)\n"), job.Failed, job.ReasonEvicted, code(137), "SIGKILL", "MAX_WORKSPACE_BYTES"},
		{"disk in /tmp", python("import os, time\nfor i in range(20):\n    open(os.environ['TMPDIR'] + '/big%d' % i, " +
			"'wb').write(b'x' * (8 << 20))\ntime.sleep(1000)\n"), job.Failed, job.ReasonEvicted, code(137), "SIGKILL",
			"MAX_WORKSPACE_BYTES"},
		{"files", python("import time\nfor i in range(6000):\n    open('f%d' % i, 'w').close()\ntime.sleep(1000)\n"),
			job.Failed, job.ReasonEvicted, code(137), "SIGKILL", "MAX_WORKSPACE_FILES"},
		{"sparse file", script("truncate -s 60M results/sparse; truncate -s 10T results/huge; exit 0\n"), job.Succeeded,
			job.ReasonCompleted, code(0), "", ""},
		{"retries used up", script("exit 5\n", "retries=2"), job.Failed, job.ReasonError, code(5), "", "attempt 3"},
		{"retried with success", script("test $JOB_ATTEMPT = 3 || { echo x; exit 1; }\n", "retries=5"), job.Succeeded,
			job.ReasonCompleted, code(0), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := s.submit(tt.form)
			got := j.wait()
			must(t, got, tt.phase, tt.reason)
			if tt.code != nil && (got.ExitCode == nil || *got.ExitCode != *tt.code) {
				t.Errorf("exit code is %v, want %d; log: %q", got.ExitCode, *tt.code, j.logs("tail=all"))
			}
			last := got.Attempts[len(got.Attempts)-1]
			if tt.signal != "" && last.Signal != tt.signal {
				t.Errorf("signal is %q, want %q", last.Signal, tt.signal)
			}
			if !strings.Contains(got.Message, tt.message) {
				t.Errorf("message %q does not hold %q", got.Message, tt.message)
			}
			if got.StartedAt == nil || got.FinishedAt == nil || got.ExpiresAt == nil || got.Outputs == nil {
				t.Errorf("something is missing in %+v", got)
			}
		})
	}
}

// TestDeadlineIgnored gives a job more time until its program had enough to say that it ignores
// SIGTERM.
func TestDeadlineIgnored(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	for seconds := 1; ; seconds *= 3 {
		j := s.submit(script("trap '' TERM\necho ignoring\nwhile :; do sleep 0.1; done\n",
			fmt.Sprintf("timeoutSeconds=%d", seconds)))
		got := j.wait()
		must(t, got, job.Failed, job.ReasonDeadlineExceeded)
		if j.logs("tail=all") == "" && seconds < 60 {
			continue // its time was up before it had begun
		}
		if got.ExitCode == nil || *got.ExitCode != 137 || got.Attempts[0].Signal != "SIGKILL" {
			t.Errorf("ended by %q with code %v, want SIGKILL and 137", got.Attempts[0].Signal, got.ExitCode)
		}
		return
	}
}

// TestOutputs leaves all kinds of things in results/.
func TestOutputs(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_OUTPUT_BYTES=1Mi", "MAX_OUTPUT_FILES=20")
	secret := filepath.Join(s.dir, ".local", "token.key")
	j := s.submit(python(`import os, socket, sys
os.chdir("results")
os.makedirs("a/b/c"); open("a/b/c/deep.txt", "w").write("deep")
open("plain.txt", "w").write("plain")
open("ü name.txt", "w").write("umlaut")
open("x.attrs", "w").write("attrs")
open(b"bad\xff", "w").write("no")
open("back\\slash", "w").write("no")
os.symlink(sys.argv[1], "link"); os.symlink("/etc", "dir"); os.symlink("plain.txt", "inner")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
os.truncate(os.open("sparse", os.O_CREAT | os.O_WRONLY), 1 << 33)
open("secret", "w").write("x"); os.chmod("secret", 0)
os.makedirs("closed/in"); open("closed/in/f", "w").write("f"); os.chmod("closed", 0)
os.symlink("/etc/passwd", "stdout.log")
print("said")
`, "arg="+secret))
	got := j.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	_, data := j.call("GET", "/outputs/"+j.ID)
	var list struct{ Items []job.File }
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list.Items {
		names = append(names, f.Name)
		if content := j.output(strings.ReplaceAll(f.Name, " ", "%20")); int64(len(content)) != f.Size {
			t.Errorf("%s has %d bytes, want %d", f.Name, len(content), f.Size)
		}
	}
	for _, want := range []string{"a/b/c/deep.txt", "plain.txt", "ü name.txt", "x.attrs", "stdout.log", "stderr.log"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among the outputs %q", want, names)
		}
	}
	for _, never := range []string{"link", "dir", "inner", "fifo", "socket", "sparse", "back\\slash"} {
		if slices.Contains(names, never) {
			t.Errorf("%s is among the outputs", never)
		}
		if !slices.ContainsFunc(got.Outputs.Omitted, func(o job.Omitted) bool { return o.Name == never && o.Reason != "" }) {
			t.Errorf("the status does not say that %s was left out: %+v", never, got.Outputs.Omitted)
		}
	}
	if log := j.logs("tail=all"); log != "said\n" {
		t.Errorf("log = %q", log)
	}
	if got.Outputs.Count != len(names) {
		t.Errorf("status counts %d outputs, want %d", got.Outputs.Count, len(names))
	}
}

// TestOutputLimits leaves more than is stored.
func TestOutputLimits(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_OUTPUT_BYTES=1Mi", "MAX_OUTPUT_FILES=20")
	j := s.submit(script("for i in $(seq 100 150); do echo $i > results/$i; done; head -c 2000000 /dev/zero; head -c " +
		"2000000 /dev/zero > results/0big\n"))
	got := j.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	if got.Outputs.Count != 22 || got.Outputs.OmittedCount != 32 || len(got.Outputs.Omitted) != 20 {
		t.Errorf("outputs = %+v", got.Outputs)
	}
	if n := len(j.logs("tail=all")); n != 2_000_000 {
		t.Errorf("the log has %d bytes; it is not subject to the limit", n)
	}
}

// TestManyJobs submits 200 jobs at once.
func TestManyJobs(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	const n = 200
	jobs := make(chan *sent, n)
	for i := range n {
		go func() {
			resp, data, err := s.post(script(fmt.Sprintf("echo %d > results/n\n", i), `labels={"n":"`+fmt.Sprint(i%10)+`"}`))
			if err != nil || resp.StatusCode != 201 {
				t.Errorf("submit %d: %v %s", i, err, data)
				jobs <- nil
				return
			}
			jobs <- decodeSent(t, s, data)
		}()
	}
	seen := map[string]bool{}
	for range n {
		j := <-jobs
		if j == nil {
			continue
		}
		must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
		seen[strings.TrimSpace(j.output("n"))] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d jobs gave their own output", len(seen), n)
	}
}

// TestOrder makes sure that waiting jobs run in the order of their submission.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=1")
	blocker := s.submit(script("echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done\n"))
	blocker.running("begun")
	var jobs []*sent
	for range 10 {
		jobs = append(jobs, s.submit(script("true\n")))
	}
	blocker.call("POST", blocker.path()+"/cancel")
	var last job.Status
	for i, j := range jobs {
		got := j.wait()
		if i > 0 && got.StartedAt.Before(*last.StartedAt) {
			t.Errorf("job %d began before the one sent before it", i)
		}
		last = got
	}
}

// TestBigLog writes a line of many megabytes.
func TestBigLog(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	j := s.submit(python("import sys\nfor i in range(64):\n    sys.stdout.buffer.write(bytes([i]) * (1 << 20))\n"))
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	var want bytes.Buffer
	for i := range 64 {
		want.Write(bytes.Repeat([]byte{byte(i)}, 1<<20))
	}
	if got := j.logs("tail=all"); got != want.String() {
		t.Errorf("the log has %d bytes and differs from the %d that were written", len(got), want.Len())
	}
}
