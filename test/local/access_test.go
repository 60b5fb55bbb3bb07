package local

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

// attack tries what a program must not be able to do, and prints a line for each success. Its
// arguments are the storage directory, the server's process ID, another job's token for the log,
// and a mark of another job's process.
const attack = `import ctypes, os, signal, sys
storage, server, mark = sys.argv[1:4]
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, f):
    try:
        got = f()
    except Exception as e:
        return
    print("SUCCESS", what, repr(got)[:200])
def read(path):
    with open(path, "rb") as f:
        return f.read(100)
def call(name, *args):
    if getattr(libc, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), name)
attempt("list the storage", lambda: os.listdir(storage))
attempt("read the key of tokens", lambda: read(storage + "/.local/token.key"))
attempt("read the keys of callers", lambda: read(storage + "/.local/keys.json"))
attempt("list the server's own folder", lambda: os.listdir(storage + "/.local"))
attempt("list workspaces", lambda: os.listdir(storage + "/.local/work"))
for dir, _, files in os.walk(storage):
    print("SUCCESS walk", dir, files)
for name in "environ", "mem", "maps", "fd", "root", "cwd", "exe":
    path = "/proc/%s/%s" % (server, name)
    attempt("read " + path, lambda: os.listdir(path) if name in ("fd", "root", "cwd") else read(path))
attempt("signal the server", lambda: os.kill(int(server), 0))
attempt("stop the server", lambda: os.kill(int(server), signal.SIGSTOP))
attempt("signal all", lambda: os.kill(-1, 0) or "reached" if os.getppid() not in (0, 1) else 1/0)
for pid in os.listdir("/proc"):
    if pid.isdigit():
        try:
            line = read("/proc/%s/cmdline" % pid)
        except OSError:
            continue
        if pid != str(os.getpid()) and mark.encode() in line:
            attempt("signal another job", lambda: os.kill(int(pid), 0))
            attempt("read another job's environment", lambda: read("/proc/%s/environ" % pid))
            attempt("enter another job's files", lambda: os.listdir("/proc/%s/cwd" % pid))
attempt("read /etc/shadow", lambda: read("/etc/shadow"))
attempt("list /root", lambda: [n for n in os.listdir("/root") if n != ".pyenv"] or 1/0)
attempt("read parent's memory", lambda: read("/proc/%d/mem" % os.getppid()))
attempt("read parent's environment", lambda: read("/proc/%d/environ" % os.getppid()))
attempt("parent's root", lambda: os.listdir("/proc/%d/root" % os.getppid()))
attempt("parent's files", lambda: os.listdir("/proc/%d/fd" % os.getppid()))
for dir in "/", "/usr", "/etc", "/usr/bin", "/opt", "/proc/sys/kernel":
    attempt("write to " + dir, lambda: open(dir + "/x", "w"))
attempt("new user namespace", lambda: call("unshare", 0x10000000))
attempt("new mount namespace", lambda: call("unshare", 0x00020000))
attempt("mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
attempt("unmount", lambda: call("umount2", b"/workspace", 2))
attempt("chroot", lambda: os.chroot("."))
attempt("become root", lambda: os.setuid(0))
attempt("trace", lambda: call("ptrace", 16, int(server), 0, 0))
attempt("clone into a namespace", lambda: libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) >= 0 or 1/0)
attempt("perf", lambda: libc.syscall(298, 0, 0, -1, -1, 0) >= 0 or 1/0)
attempt("keys", lambda: libc.syscall(250, 0, -3, 0) >= 0 or 1/0)
attempt("io_uring", lambda: libc.syscall(425, 1, 0) >= 0 or 1/0)
status = open("/proc/self/status").read()
for line in status.splitlines():
    name, _, value = line.partition(":")
    value = value.strip()
    if name in ("CapEff", "CapPrm", "CapInh", "CapAmb") and int(value, 16) != 0:
        print("SUCCESS", line)
    if name == "NoNewPrivs" and value != "1" or name == "Seccomp" and value != "2":
        print("SUCCESS", line)
print("finished")
`

// TestSandbox attacks the machine from a program, with a server of root and, where the tests run as
// root, one of an ordinary user.
func TestSandbox(t *testing.T) {
	t.Parallel()
	users := map[string]*syscall.Credential{"as the user of the tests": nil}
	if os.Geteuid() == 0 {
		users["as an ordinary user"] = &syscall.Credential{Uid: 23456, Gid: 23456}
	}
	for name, user := range users {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startAs(t, user)
			s.says("namespaces+landlock") // else the sandbox is weaker than this machine allows
			mark := fmt.Sprintf("victim-%d", time.Now().UnixNano())
			victim := s.submit(script("echo begun; exec sleep 1000\n", "arg="+mark, `env={"SECRET":"`+mark+`"}`))
			victim.running("begun")
			j := s.submit(python(attack, "arg="+s.dir, fmt.Sprintf("arg=%d", s.cmd.Process.Pid), "arg="+mark))
			got := j.wait()
			log := j.logs("tail=all")
			if !strings.HasSuffix(log, "finished\n") || strings.Contains(log, "SUCCESS") {
				t.Errorf("%s (%s); the attack got:\n%s", got.Phase, got.Message, log)
			}
			mustBe(victim, job.Running)
		})
	}
}

// startAs starts a server of another user, on a directory of its own.
func startAs(t *testing.T, user *syscall.Credential, vars ...string) *server {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &server{t: t, program: path, dir: dir, user: user, vars: map[string]string{"KILL_GRACE": "500ms",
		"REAP_INTERVAL": "100ms"}}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		s.vars[name] = value
	}
	if user != nil {
		openParents(t, dir)
		if err := os.Chown(dir, int(user.Uid), int(user.Gid)); err != nil {
			t.Fatal(err)
		}
		s.vars["HOME"] = "/nonexistent"
		s.vars["PATH"] = "/usr/local/bin:/usr/bin:/bin"
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// openParents lets other users reach a temporary folder.
func openParents(t *testing.T, dir string) {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTokens tries every route with every kind of wrong token: all of them where callers need a key, and
// the routes to files where they do not.
func TestTokens(t *testing.T) {
	t.Parallel()
	ofFiles := []route{
		{"GET", "/outputs/ID"}, {"GET", "/outputs/ID?format=zip"}, {"GET", "/outputs/ID/x"}, {"HEAD", "/outputs/ID/x"},
		{"GET", "/artifacts/ID/run"}, {"HEAD", "/artifacts/ID/run"}, {"GET", "/artifacts/ID/index.json"},
		{"PUT", "/artifacts/ID/upload/y"},
	}
	ofJobs := []route{
		{"GET", "/api/v1/jobs/ID"}, {"POST", "/api/v1/jobs/ID/cancel"}, {"DELETE", "/api/v1/jobs/ID"},
		{"GET", "/api/v1/jobs/ID/logs"}, {"GET", "/api/v1/jobs/ID/events"}, {"POST", "/api/v1/jobs/ID/share"},
	}
	for auth, routes := range map[string][]route{"keys": slices.Concat(ofFiles, ofJobs), "open": ofFiles} {
		t.Run(auth, func(t *testing.T) {
			t.Parallel()
			s := start(t, t.TempDir(), "AUTH="+auth)
			if auth == "keys" {
				s.key = s.firstKey()
			}
			mine, other := s.submit(script("echo x > results/x\n")), s.submit(script("true\n"))
			mine.wait()
			other.wait()
			tryTokens(mine, other, routes)
			hides(s, mine.Token)
		})
	}
}

type route struct{ method, path string }

// tryTokens makes calls about a job with wrong tokens.
func tryTokens(mine, other *sent, routes []route) {
	s, t := mine.s, mine.s.t
	t.Helper()
	flipped := []byte(mine.Token)
	flipped[5] ^= 1
	headers := []struct {
		name   string
		values []string
		status int
	}{
		{"none", nil, 401},
		{"empty", []string{""}, 401},
		{"no token", []string{"Bearer "}, 401},
		{"basic", []string{"Basic " + mine.Token}, 401},
		{"another job's", []string{"Bearer " + other.Token}, 403},
		{"one bit off", []string{"Bearer " + string(flipped)}, 403},
		{"cut short", []string{"Bearer " + mine.Token[:20]}, 403},
		{"too long", []string{"Bearer " + mine.Token + "A"}, 403},
		{"two", []string{"Bearer " + mine.Token, "Bearer " + other.Token}, 400},
	}
	for _, route := range routes {
		for _, h := range headers {
			for _, id := range []string{mine.ID, strings.Repeat("0", 32)} {
				req, err := http.NewRequest(route.method, s.url+strings.Replace(route.path, "ID", id, 1), nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header["Authorization"] = h.values
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != h.status {
					t.Errorf("%s %s with token %q: %s, want %d", route.method, route.path, h.name, resp.Status, h.status)
				}
				if challenge := resp.Header.Get("WWW-Authenticate"); (h.status == 401) != strings.HasPrefix(challenge, "Bearer") {
					t.Errorf("%s %s with token %q: WWW-Authenticate %q", route.method, route.path, h.name, challenge)
				}
			}
		}
	}
}

// hides makes sure that secrets are in no file below the server's folder and not in its log.
func hides(s *server, secrets ...string) {
	s.t.Helper()
	for _, secret := range secrets {
		if strings.Contains(s.output.String(), secret) {
			s.t.Errorf("%.16s… is in the server's log", secret)
		}
	}
	if err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				s.t.Errorf("%.16s… is stored in %s", secret, path)
			}
		}
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
}

// TestFollow reads a log while it is written.
func TestFollow(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	j := s.submit(python(`import os, sys, time
for i in range(5):
    print("line", i)
    print("error", i, file=sys.stderr)
    while not os.path.exists("/tmp/%d" % i) and i < 0: time.sleep(0.01)
    time.sleep(0.5)
sys.stdout.write("no newline")
`))
	req, err := http.NewRequestWithContext(timeout(t), "GET", s.url+j.path()+"/logs?follow=true&stream=stdout", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+j.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for i := range 5 {
		line, err := in.ReadString('\n')
		if want := fmt.Sprintf("line %d\n", i); line != want || err != nil {
			t.Fatalf("got %q (%v), want %q", line, err, want)
		}
		if got := j.status(); i < 4 && got.Phase != job.Running {
			t.Errorf("line %d came when the job was %s", i, got.Phase)
		}
	}
	rest := new(bytes.Buffer)
	if _, err := rest.ReadFrom(in); err != nil || rest.String() != "no newline" {
		t.Errorf("the rest is %q (%v)", rest, err)
	}
	if got := resp.Trailer.Get("Job-Phase"); got != "Succeeded" {
		t.Errorf("trailer Job-Phase is %q", got)
	}
	for query, want := range map[string]string{
		"stream=stdout&tail=1": "no newline", "stream=stderr&tail=2": "error 3\nerror 4\n", "tail=0": "",
		"stream=stdout&tail=2": "line 4\nno newline",
	} {
		if got := j.logs(query); got != want {
			t.Errorf("logs?%s = %q, want %q", query, got, want)
		}
	}
	if got := j.logs("tail=all"); strings.Index(got, "error 0") > strings.Index(got, "line 4") {
		t.Errorf("the streams are not in the order they were written: %q", got)
	}
}

// TestCancel cancels jobs in each phase.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=1")
	mark := fmt.Sprintf("mark-%d", time.Now().UnixNano())
	running := s.submit(python("import os, time\nopen('results/kept', 'w').write('kept')\nif os.fork() == 0:\n    "+
		"os.setsid()\n    time.sleep(1000)\nprint('begun')\ntime.sleep(1000)\n", "arg="+mark, "retries=5"))
	running.running("begun")
	waiting := s.submit(script("echo never\n"))
	for _, j := range []*sent{waiting, running} {
		resp, data := j.call("POST", j.path()+"/cancel")
		if resp.StatusCode != 200 {
			t.Errorf("cancel: %s %s", resp.Status, data)
		}
		must(t, j.wait(), job.Cancelled, job.ReasonCancelled)
		if resp, _ := j.call("POST", j.path()+"/cancel"); resp.StatusCode != 200 {
			t.Errorf("cancelling again: %s", resp.Status)
		}
	}
	if n := processes(t, mark); n > 0 {
		t.Errorf("%d processes are left", n)
	}
	if got := running.output("kept"); got != "kept" {
		t.Errorf("output = %q", got)
	}
	ended := s.submit(script("true\n"))
	must(t, ended.wait(), job.Succeeded, job.ReasonCompleted)
	if resp, data := ended.call("POST", ended.path()+"/cancel"); resp.StatusCode != 409 ||
		!bytes.Contains(data, []byte("Succeeded")) {
		t.Errorf("cancelling an ended job: %s %s", resp.Status, data)
	}
	must(t, ended.status(), job.Succeeded, job.ReasonCompleted)
}

// TestDelete deletes jobs in each phase; nothing may be left of them.
func TestDelete(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=1")
	running := s.submit(script("trap '' TERM; echo begun; while :; do sleep 0.1; done\n", `labels={"a":"b"}`))
	running.running("begun")
	waiting := s.submit(script("true\n"))
	for _, j := range []*sent{waiting, running} {
		if resp, data := j.call("DELETE", j.path()); resp.StatusCode != 204 || len(data) > 0 {
			t.Errorf("delete: %s %s", resp.Status, data)
		}
		if !j.gone() {
			t.Error("the job is still there")
		}
	}
	ended := s.submit(script("echo x > results/x\n"))
	ended.wait()
	if resp, _ := ended.call("DELETE", ended.path()); resp.StatusCode != 204 {
		t.Errorf("delete: %s", resp.Status)
	}
	if resp, _ := ended.call("DELETE", ended.path()); resp.StatusCode != 404 {
		t.Errorf("deleting again: %s", resp.Status)
	}
	var left []string
	s.until("nothing is left", func() bool { left = strays(t, s.dir); return len(left) == 0 })
}

// TestTTL lets jobs expire.
func TestTTL(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "DEFAULT_TTL_SECONDS=3600")
	short, long := s.submit(script("true\n", "ttlSecondsAfterFinished=0")), s.submit(script("true\n"))
	running := s.submit(script("echo begun; exec sleep 1000\n", "ttlSecondsAfterFinished=0"))
	running.running("begun")
	s.until("the job has expired", short.gone)
	got := long.wait()
	if ttl := got.ExpiresAt.Sub(*got.FinishedAt); ttl != time.Hour {
		t.Errorf("the default TTL is %s", ttl)
	}
	mustBe(running, job.Running)
}

// TestFull fills the queue and the disk.
func TestFull(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=1", "MAX_QUEUED_JOBS=2")
	blocker := s.submit(script("echo begun; exec sleep 1000\n"))
	blocker.running("begun")
	waiting := []*sent{s.submit(script("true\n")), s.submit(script("true\n"))}
	var resp *http.Response
	var data []byte
	var err error
	// on a busy machine a job may get into it a moment after its submit was answered
	s.until("the queue is full", func() bool {
		resp, data, err = s.post(script("true\n"))
		if err == nil && resp.StatusCode == 201 && len(waiting) < 5 {
			waiting = append(waiting, decodeSent(t, s, data))
			return false
		}
		return true
	})
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" ||
		!bytes.Contains(data, []byte("MAX_QUEUED_JOBS")) {
		t.Errorf("full queue: %v %s %s", err, resp.Status, data)
	}
	blocker.call("POST", blocker.path()+"/cancel")
	for _, j := range waiting { // one that was refused has cost no other its place
		must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	}
	full := start(t, t.TempDir(), "MIN_FREE_BYTES=1Pi")
	resp, data, err = full.post(script("true\n"))
	if err != nil || resp.StatusCode != 507 {
		t.Errorf("full disk: %v %s %s", err, resp.Status, data)
	}
	if left := strays(t, full.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestNotInstalled asks for a runtime that this machine does not have.
func TestNotInstalled(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "PATH="+t.TempDir())
	resp, data, err := s.post(python("pass\n"))
	if err != nil || resp.StatusCode != 422 {
		t.Fatalf("%v %s %s", err, resp.Status, data)
	}
	var problem struct{ Errors []job.Fault }
	if err := json.Unmarshal(data, &problem); err != nil || len(problem.Errors) != 1 ||
		problem.Errors[0].Field != "runtime" || !strings.Contains(problem.Errors[0].Message, "not installed") {
		t.Errorf("problem is %s (%v)", data, err)
	}
}

// TestIdempotency sends jobs again, also after a crash.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	f := script("true\n")
	f.header = map[string]string{"Idempotency-Key": "a key"}
	first := s.submit(f)
	s.restart()
	if again := s.submit(f); again.ID != first.ID || again.Token != first.Token {
		t.Errorf("the same request became job %s, then %s", first.ID, again.ID)
	}
	other := script("false\n")
	other.header = f.header
	if resp, data, err := s.post(other); err != nil || resp.StatusCode != 422 ||
		!bytes.Contains(data, []byte("Idempotency-Key")) {
		t.Errorf("another body: %v %s %s", err, resp.Status, data)
	}
	first.wait()
	first.call("DELETE", first.path())
	if resp, data, err := s.post(f); err != nil || resp.StatusCode != 410 {
		t.Errorf("after removal: %v %s %s", err, resp.Status, data)
	}
}
