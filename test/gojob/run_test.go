package gojob

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shell is one use of gojob in a folder of its own.
type shell struct {
	t    testing.TB
	path string
	dir  string
	env  []string
}

// newShell returns a folder from which gojob calls the server at a URL.
func newShell(t testing.TB, url string) *shell {
	t.Helper()
	path, err := gojob()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &shell{t: t, path: path, dir: dir, env: []string{
		"PATH=" + filepath.Dir(path) + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME=" + dir,
		"XDG_CONFIG_HOME=" + filepath.Join(dir, ".config"), "XDG_STATE_HOME=" + filepath.Join(dir, ".state"),
		"GOJOB_URL=" + url, "TERM=xterm-256color",
	}}
}

func (s *shell) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// gojob runs gojob to its end.
func (s *shell) gojob(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	return s.wait(s.command(s.path, args...))
}

// sh runs a line of a shell to its end.
func (s *shell) sh(line string) (stdout, stderr string, code int) {
	s.t.Helper()
	return s.wait(s.command("bash", "-c", line))
}

func (s *shell) wait(cmd *exec.Cmd) (stdout, stderr string, code int) {
	s.t.Helper()
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	code = s.code(cmd.Run(), &out, &words)
	return out.String(), words.String(), code
}

func (s *shell) code(err error, out, words *bytes.Buffer) int {
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		s.t.Fatalf("%v\n%s%s", err, out, words)
	}
	if exited != nil {
		return exited.ExitCode()
	}
	return 0
}

// until waits until a condition holds.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// phase returns the phase of a job, or "" if there is none.
func (s *server) phase(id string) string {
	response, err := http.Get(s.url() + "/api/v1/jobs/" + id)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var job struct{ Phase string }
	_ = json.NewDecoder(response.Body).Decode(&job)
	return job.Phase
}

// jobs returns the IDs of all jobs, newest first.
func (s *server) jobs() (ids []string) {
	s.t.Helper()
	response, err := http.Get(s.url() + "/api/v1/jobs")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var list struct{ Items []struct{ JobID string } }
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		s.t.Fatal(err)
	}
	for _, item := range list.Items {
		ids = append(ids, item.JobID)
	}
	return ids
}

// log returns the whole log of a job.
func (s *server) log(id, stream string) string {
	s.t.Helper()
	response, err := http.Get(s.url() + "/api/v1/jobs/" + id + "/logs?tail=all&stream=" + stream)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

const (
	exitScript  = "#!/bin/sh\nexit \"$1\"\n"
	killScript  = "#!/bin/sh\nkill -\"$1\" $$\nsleep 60\n"
	sleepScript = "#!/bin/sh\necho started\nsleep \"${1:-60}\"\necho done\n"
)

// TestExitCodes holds the exit codes of run to what real jobs do.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	folder := func(t *testing.T) *shell {
		sh := newShell(t, s.url())
		sh.write("exit.sh", exitScript)
		sh.write("kill.sh", killScript)
		sh.write("sleep.sh", sleepScript)
		sh.write("memory.py", "block = bytearray(500 << 20)\n")
		sh.write("packages.py", "# /// script\n# dependencies = [\"there-is-no-such-package\"]\n# ///\nprint('runs')\n")
		sh.write("broken", "neither a script nor a program")
		return sh
	}
	tests := map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"signal TERM":                   {[]string{"kill.sh", "TERM"}, 143, "exit code 143"},
		"signal KILL":                   {[]string{"kill.sh", "KILL"}, 137, "SIGKILL"},
		"signal SEGV":                   {[]string{"kill.sh", "SEGV"}, 139, "exit code 139"},
		"signal HUP":                    {[]string{"kill.sh", "HUP"}, 129, "exit code 129"},
		"deadline":                      {[]string{"--timeout", "1s", "sleep.sh"}, 124, "DeadlineExceeded"},
		"memory":                        {[]string{"-m", "64MB", "memory.py"}, 137, "OOMKilled"},
		"refused":                       {[]string{"--image", "python", "exit.sh", "0"}, 125, "image"},
		"refused file":                  {[]string{"broken"}, 125, "runtime"},
		"server unreachable":            {[]string{"--url", "http://localhost:1", "exit.sh", "0"}, 125, "http://localhost:1 does not answer"},
		"packages":                      {[]string{"packages.py"}, 125, "there-is-no-such-package"},
		"no file":                       {[]string{"missing.py"}, 2, "missing.py"},
		"no flag":                       {[]string{"--memmory", "1Gi", "exit.sh"}, 2, "did you mean --memory?"},
		"no program":                    {nil, 2, "say what to run"},
		"bad value":                     {[]string{"--timeout", "soon", "exit.sh"}, 2, "--timeout"},
		"flags that do not go together": {[]string{"-d", "--out", ".", "exit.sh"}, 2, "--detach"},
		"retried, and right at last":    {[]string{"--retries", "1", "--retry-on", "7", "exit.sh", "7"}, 7, "2 attempts"},
	}
	for _, code := range []int{0, 1, 2, 3, 42, 124, 125, 126, 127, 128, 130, 137, 141, 143, 254, 255} {
		said := fmt.Sprintf("exit code %d", code)
		if code == 0 {
			said = "succeeded"
		}
		tests[fmt.Sprintf("exit %d", code)] = struct {
			args   []string
			code   int
			stderr string
		}{[]string{"exit.sh", fmt.Sprint(code)}, code, said}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sh := folder(t)
			_, stderr, code := sh.gojob(append([]string{"run"}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit code %d, want %d and %q on stderr:\n%s", code, test.code, test.stderr, stderr)
			}
		})
	}
	t.Run("cancelled by another", func(t *testing.T) {
		t.Parallel()
		sh := folder(t)
		r := sh.begin("run", "-n", "to cancel", "sleep.sh")
		r.until("started")
		if _, stderr, code := sh.gojob("cancel", "to cancel"); code != 0 {
			t.Errorf("cancel ended with %d: %s", code, stderr)
		}
		if code := r.end(); code != 130 || !strings.Contains(r.stderr.String(), "cancelled") {
			t.Errorf("exit code %d, want 130:\n%s", code, &r.stderr)
		}
	})
	t.Run("removed by another", func(t *testing.T) {
		t.Parallel()
		sh := folder(t)
		r := sh.begin("run", "-n", "to remove", "sleep.sh")
		r.until("started")
		if _, stderr, code := sh.gojob("rm", "to remove"); code != 0 {
			t.Errorf("rm ended with %d: %s", code, stderr)
		}
		if code := r.end(); code != 125 || !strings.Contains(r.stderr.String(), "removed") {
			t.Errorf("exit code %d, want 125:\n%s", code, &r.stderr)
		}
	})
	t.Run("wait", func(t *testing.T) {
		t.Parallel()
		sh := folder(t)
		good, _, _ := sh.gojob("submit", "exit.sh", "0")
		bad, _, _ := sh.gojob("submit", "exit.sh", "3")
		good, bad = strings.TrimSpace(good), strings.TrimSpace(bad)
		if _, stderr, code := sh.gojob("wait", good); code != 0 || !strings.Contains(stderr, "succeeded") {
			t.Errorf("wait for a good one: %d\n%s", code, stderr)
		}
		if _, stderr, code := sh.gojob("wait", good, bad); code != 1 || !strings.Contains(stderr, "exit code 3") {
			t.Errorf("wait for both: %d\n%s", code, stderr)
		}
		if _, _, code := sh.gojob("wait", strings.Repeat("0", 32)); code != 3 {
			t.Errorf("wait for none: %d", code)
		}
		if _, _, code := sh.gojob("wait", "--url", "http://localhost:1", "--unreachable-timeout", "100ms", good); code != 5 {
			t.Errorf("wait for nobody: %d", code)
		}
	})
}

// running is a gojob that runs, without a terminal.
type running struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr lockedBuffer
}

func (s *shell) begin(args ...string) *running {
	s.t.Helper()
	r := &running{t: s.t, cmd: s.command(s.path, args...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// until waits for a text on stdout or stderr.
func (r *running) until(text string) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%q is printed", text), func() bool {
		return strings.Contains(r.stdout.String()+r.stderr.String(), text)
	})
}

func (r *running) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) end() int {
	r.t.Helper()
	var exited *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exited) {
		r.t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode()
}

// TestSignals sends signals to a run without a terminal.
func TestSignals(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for name, test := range map[string]struct {
		args    []string
		signals []os.Signal
		said    string
		phase   string
	}{
		"SIGTERM":        {nil, []os.Signal{syscall.SIGTERM}, "detached", "Running"},
		"SIGHUP":         {nil, []os.Signal{syscall.SIGHUP}, "detached", "Running"},
		"SIGINT":         {nil, []os.Signal{syscall.SIGINT}, "detached", "Running"},
		"cancel on exit": {[]string{"--cancel-on-exit"}, []os.Signal{syscall.SIGTERM}, "cancelled", "Cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sh := newShell(t, s.url())
			sh.write("sleep.sh", sleepScript)
			r := sh.begin(append(append([]string{"run"}, test.args...), "sleep.sh")...)
			r.until("started")
			for _, signal := range test.signals {
				r.signal(signal)
			}
			if code := r.end(); code != 130 || !strings.Contains(r.stderr.String(), test.said) {
				t.Errorf("exit code %d, want 130 and %q:\n%s", code, test.said, &r.stderr)
			}
			id, _, _ := sh.gojob("get", "@", "-o", "name")
			if phase := s.phase(strings.TrimSpace(id)); phase != test.phase {
				t.Errorf("the job is %s, want %s", phase, test.phase)
			}
			_, _, _ = sh.gojob("cancel", "@")
		})
	}
}

// TestPipes uses run as shells do.
func TestPipes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	sh := newShell(t, s.url())
	sh.write("many.sh", "#!/bin/sh\necho first\nsleep 1\nfor i in $(seq 2000); do echo \"line $i\"; done\nsleep 1\necho last\n")
	sh.write("object.py", "import json, sys\nprint(json.dumps({'n': 7}))\nprint('careful', file=sys.stderr)\n")
	sh.write("binary.py", "import os, sys\nsys.stdout.buffer.write(bytes(range(256)) * 300)\nsys.stderr.buffer.write(bytes(range(255, -1, -1)))\n")

	sh.write("cat.sh", "#!/bin/sh\nexec cat\n")

	out, words, code := sh.sh("gojob run many.sh | head -1; echo ${PIPESTATUS[0]}")
	if out != "first\n141\n" || code != 0 || strings.Count(words, "the job goes on") != 1 {
		t.Errorf("head: %q, %d\n%s", out, code, words)
	}
	if _, words, code := sh.gojob("wait", "@"); code != 0 {
		t.Errorf("the job was ended by head: %s", words)
	}
	out, _, code = sh.sh("gojob logs @ | tail -1")
	if out != "last\n" || code != 0 {
		t.Errorf("logs: %q, %d", out, code)
	}
	out, words, _ = sh.sh("gojob logs @ | head -1; echo ${PIPESTATUS[0]}")
	if !strings.HasPrefix(out, "first\n") || words != "" {
		t.Errorf("logs and head: %q\n%s", out, words)
	}
	out, words, code = sh.sh("set -o pipefail; gojob run -q object.py | jq .n")
	if out != "7\n" || words != "careful\n" || code != 0 {
		t.Errorf("jq: %q, %q, %d", out, words, code)
	}
	out, words, code = sh.sh("set -o pipefail; gojob run -o json object.py | jq -r .phase")
	if out != "Succeeded\n" || !strings.Contains(words, `{"n": 7}`) || code != 0 {
		t.Errorf("-o json: %q, %q, %d", out, words, code)
	}
	out, _, code = sh.sh("gojob run --runtime python - a b <<'END'\nimport sys\nprint(sys.argv[1:])\nEND\n")
	if out != "['a', 'b']\n" || code != 0 {
		t.Errorf("python from stdin: %q, %d", out, code)
	}
	out, _, code = sh.sh("printf '#!/bin/sh\\necho \"hello $1\"; exit 4' | gojob run - you")
	if out != "hello you\n" || code != 4 {
		t.Errorf("a script from stdin: %q, %d", out, code)
	}
	if _, words, code = sh.sh("echo hello | gojob run -"); code != 2 || !strings.Contains(words, "--runtime") {
		t.Errorf("no script from stdin: %d\n%s", code, words)
	}
	out, _, code = sh.sh("seq 3 | gojob run -q --stdin - cat.sh")
	if out != "1\n2\n3\n" || code != 0 {
		t.Errorf("stdin: %q, %d", out, code)
	}
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	out, words, code = sh.gojob("run", "-q", "binary.py")
	if out != strings.Repeat(string(all[:]), 300) || len(words) != 256 || code != 0 {
		t.Errorf("binary: %d and %d bytes, %d", len(out), len(words), code)
	}
}

// TestFollowerIsCut follows a job through a line that is cut at random places, at least fifty times.
func TestFollowerIsCut(t *testing.T) {
	t.Parallel()
	s := serve(t)
	line := newBadLine(t, s)
	sh := newShell(t, s.url())
	sh.write("bytes.py", `import os, sys, random, time
r = random.Random(7)
for i in range(400):
    out = sys.stdout.buffer if r.random() < .8 else sys.stderr.buffer
    out.write(r.randbytes(r.randrange(20000)))
    out.flush()
    time.sleep(.005)
`)
	if _, words, code := sh.gojob("submit", "bytes.py"); code != 0 {
		t.Fatal(words)
	}
	id := s.jobs()[0]
	// The log has some 4 MB, which are more in base64, and no connection carries more than 80 KB of it.
	// Events have random lengths, so each is cut at another place. Now and then nobody listens.
	line.add("cut", "limit_data", "downstream", `{"bytes": 80000}`)
	r := sh.begin("logs", "-f", "--url", line.url(), id)
	ended := make(chan int, 1)
	go func() { ended <- r.end() }()
	random := rand.New(rand.NewPCG(1, 2))
	for code := -1; code < 0; {
		select {
		case code = <-ended:
			if code != 0 {
				words := r.stderr.String()
				t.Errorf("exit code %d: %q", code, words[max(0, len(words)-400):])
			}
		case <-time.After(time.Duration(50+random.IntN(200)) * time.Millisecond):
			line.proxy.Stop()
			time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
			if err := line.proxy.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for stream, got := range map[string]string{"stdout": r.stdout.String(), "stderr": r.stderr.String()} {
		if want := s.log(id, stream); got != want || len(want) < 700_000 {
			t.Errorf("%s: %d bytes, want the %d of the log", stream, len(got), len(want))
		}
	}
}

// TestServerRestarts kills the server while a job is followed, and starts it again.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	sh := newShell(t, s.url())
	sh.write("count.py", `import os, time
for i in range(int(os.environ["COUNT"])):
    print(os.environ["JOB_ATTEMPT"], i, flush=True)
    time.sleep(.02)
if os.environ["JOB_ATTEMPT"] == "1":
    time.sleep(60)
`)
	r := sh.begin("run", "-e", "COUNT=50", "--retries", "3", "count.py")
	r.until("1 20\n")
	s.stop()
	time.Sleep(300 * time.Millisecond) // some calls are to fail
	s.start()
	if code := r.end(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, &r.stderr)
	}
	if got, want := r.stdout.String(), s.log(s.jobs()[0], "stdout"); got != want || !strings.HasSuffix(want, "2 49\n") {
		t.Errorf("other output than the log's:\n%s\nwant:\n%s", got, want)
	}
	if words := r.stderr.String(); !strings.Contains(words, "attempt 2") || strings.Contains(words, "connection") {
		t.Errorf("a restart is said otherwise:\n%s", words)
	}
}

// TestServerIsLost gives up on a server that went away.
func TestServerIsLost(t *testing.T) {
	t.Parallel()
	s := serve(t)
	sh := newShell(t, s.url())
	sh.write("sleep.sh", sleepScript)
	r := sh.begin("run", "--unreachable-timeout", "1s", "sleep.sh")
	r.until("started")
	s.stop()
	if code := r.end(); code != 125 || !strings.Contains(r.stderr.String(), "gojob logs -f ") {
		t.Errorf("exit code %d, want 125:\n%s", code, &r.stderr)
	}
	s.start()
}

// TestFollowTimeout follows a job for longer than the server lets a follower stay, as Knative does.
func TestFollowTimeout(t *testing.T) {
	t.Parallel()
	s := serve(t, "FOLLOW_TIMEOUT=1s")
	sh := newShell(t, s.url())
	sh.write("count.py", "import time\nfor i in range(150):\n    print('line', i, flush=True)\n    time.sleep(.02)\n")
	stdout, stderr, code := sh.gojob("run", "count.py")
	if want := s.log(s.jobs()[0], "stdout"); stdout != want || code != 0 || !strings.HasSuffix(want, "line 149\n") {
		t.Errorf("exit code %d, %d bytes, want the %d of the log", code, len(stdout), len(want))
	}
	if n := strings.Count(stderr, "\n"); n > 3 || strings.Contains(stderr, "connect") { // it may be queued at first
		t.Errorf("reconnecting is not silent:\n%s", stderr)
	}
}

// TestWaiting has a run say on lines what the job waits for, where there is no terminal.
func TestWaiting(t *testing.T) {
	t.Parallel()
	s := serve(t, "MAX_CONCURRENT_JOBS=1", "RETRY_BACKOFF=1s")
	sh := newShell(t, s.url())
	sh.write("sleep.sh", sleepScript)
	sh.write("twice.sh", "#!/bin/sh\necho attempt $JOB_ATTEMPT\nsleep 0.5\ntest $JOB_ATTEMPT = 2\n")
	if _, words, code := sh.gojob("submit", "-n", "first", "sleep.sh"); code != 0 {
		t.Fatal(words)
	}
	r := sh.begin("run", "--retries", "1", "twice.sh")
	r.until("queued, next to start")
	if _, words, code := sh.gojob("cancel", "first"); code != 0 {
		t.Fatal(words)
	}
	if code := r.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	var said []string
	for line := range strings.Lines(r.stderr.String()) {
		_, after, _ := strings.Cut(strings.TrimSpace(line), " · ")
		_, after, _ = strings.Cut(after, " · ")
		if after != "queued" { // before the place in the queue is known
			said = append(said, after)
		}
	}
	want := []string{"queued, next to start", "running", "attempt 1 failed with exit code 1; the next one follows",
		"running, attempt 2", ""}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if got := r.stdout.String(); got != "attempt 1\nattempt 2\n" {
		t.Errorf("output: %q", got)
	}
}

// TestRunOnABadLine runs jobs from their upload to their outputs through a line that is cut all the
// time.
func TestRunOnABadLine(t *testing.T) {
	t.Parallel()
	s := serve(t)
	line := newBadLine(t, s)
	sh := newShell(t, line.url())
	sh.write("work.py", `import os, sys, time
data = open("data", "rb").read()
for i in range(20):
    print(sys.argv[1], i, flush=True)
    time.sleep(.05)
with open(os.environ["OUTPUT_DIR"] + "/out", "wb") as f:
    f.write(data * 4)
sys.exit(7)
`)
	data := strings.Repeat("0123456789abcdef", 1<<14) // 256 KiB
	sh.write("data", data)
	ended, done := make(chan *running), make(chan struct{})
	const runs = 4
	for i := range runs {
		r := sh.begin("run", "-f", "data", "--out", fmt.Sprintf("out%d", i), "work.py", fmt.Sprint(i))
		go func() { _ = r.cmd.Wait(); ended <- r }()
	}
	cuts := make(chan int, 1)
	go func() {
		random, n := rand.New(rand.NewPCG(3, 4)), 0
		defer func() { cuts <- n }()
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(30+random.IntN(150)) * time.Millisecond):
			}
			line.proxy.Stop()
			n++
			time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
			if err := line.proxy.Start(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	refused := 0
	for range runs {
		r := <-ended
		if words := r.stderr.String(); strings.Contains(words, "connection refused") && len(r.stdout.String()) == 0 {
			refused++ // its first connection: nobody waits for a server that was never there
			continue
		}
		lines := strings.SplitAfter(r.stdout.String(), "\n")
		if code := r.cmd.ProcessState.ExitCode(); code != 7 || len(lines) != 21 || !strings.HasSuffix(lines[19], " 19\n") {
			t.Errorf("exit code %d: %q\n%s", code, lines, &r.stderr)
			continue
		}
		number := strings.Fields(lines[0])[0]
		if out, err := os.ReadFile(filepath.Join(sh.dir, "out"+number, "out")); err != nil || string(out) != strings.Repeat(data, 4) {
			t.Errorf("job %s: %d bytes of outputs, %v\n%s", number, len(out), err, &r.stderr)
		}
	}
	close(done)
	if n := <-cuts; n < 5 {
		t.Errorf("only %d cuts", n)
	}
	if jobs := s.jobs(); len(jobs) != runs-refused {
		t.Errorf("%d runs made %d jobs", runs-refused, len(jobs))
	}
}
