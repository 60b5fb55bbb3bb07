package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/token"
)

// rootVariable makes this test's binary the agent, with its folders below the folder that it names.
const rootVariable = "AGENT_TEST_ROOT"

func TestMain(m *testing.M) {
	dir := os.Getenv(rootVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p := testPaths(dir)
	code, err := run(log, os.Args[1], os.Environ(), p, os.Stdout, os.Stderr)
	if err != nil {
		writeTerminationMessage(filepath.Join(dir, "termination-log"), err)
		if code == 0 {
			code = exitPlatform
		}
	}
	os.Exit(code)
}

func testPaths(dir string) paths {
	return paths{work: filepath.Join(dir, "workspace"), binary: filepath.Join(dir, "bin"),
		secrets: filepath.Join(dir, "secrets"), named: filepath.Join(dir, "named")}
}

// fixture is the orchestrator as a pod sees it, and one job in it.
type fixture struct {
	*ledgertest.Fixture
	server *httptest.Server
	index  *job.Index
	// trouble is asked about each request and may answer it itself.
	trouble atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func newFixture(t *testing.T, script string, change ...func(*job.Index)) *fixture {
	t.Helper()
	return newFixtureWith(t, "", script, change...)
}

// newFixtureWith is newFixture for an orchestrator with another setting, NAME=value.
func newFixtureWith(t *testing.T, setting, script string, change ...func(*job.Index)) *fixture {
	t.Helper()
	w := &fixture{Fixture: ledgertest.New(t)}
	env := w.Env("MAX_OUTPUT_BYTES=1Gi", setting)
	files, err := artifacts.New(artifacts.Deps{Env: env, Ledger: w.Ledger})
	w.Must(err)
	records, err := agentapi.New(agentapi.Deps{Env: env, Ledger: w.Ledger})
	w.Must(err)
	functions := w.Serve(files, records).Config.Handler
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if trouble := w.trouble.Load(); trouble == nil || !(*trouble)(rw, r) {
			functions.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(w.server.Close)
	w.index = w.Job(append(append([]func(*job.Index){isBinary}, change...), func(i *job.Index) {
		for n, f := range i.Files { // more of them, whose content is their name
			i.Files[n] = w.File(i.JobID, f.Name, f.Name)
		}
		if i.Stdin != nil { // its content is its name as well
			*i.Stdin = w.File(i.JobID, job.StdinFile, i.Stdin.Name)
		}
		i.Files = append(i.Files, w.File(i.JobID, "main", "#!/bin/sh\n"+script))
	})...)
	return w
}

func isBinary(i *job.Index) { i.Runtime, i.Entrypoint = "binary", "main" }

func retries(n int) func(*job.Index) { return func(i *job.Index) { i.Retries = n } }

// pod is the two containers, as processes.
type pod struct {
	w    *fixture
	name string
	dir  string
	// grace is how long the program has to end.
	grace  time.Duration
	binary string
	user   *syscall.Credential // nil: the test's
	// verdict is the exit code of the sidecar once it has ended.
	verdict int
	out     map[string]*output
}

func (w *fixture) pod(name string) *pod {
	p := &pod{w: w, name: name, dir: w.T.TempDir(), grace: 5 * time.Second, binary: os.Args[0], out: map[string]*output{}}
	for _, folder := range []string{"workspace", "bin"} {
		if err := os.Mkdir(filepath.Join(p.dir, folder), 0o700); err != nil {
			w.T.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.dir, "token"), []byte(w.Keys.Derive(token.Agent, w.index.JobID)),
		0o600); err != nil {
		w.T.Fatal(err)
	}
	return p
}

// ordinary makes the pod's user one that is not root, as in Kubernetes.
func (p *pod) ordinary() {
	p.w.T.Helper()
	const nobody = 65534
	if os.Geteuid() != 0 {
		return
	}
	p.binary = filepath.Join(p.dir, "agent.test") // the test's own lies in a folder that is root's alone
	for _, c := range [][]string{{"cp", os.Args[0], p.binary}, {"chown", "-R", fmt.Sprintf("%d:%d", nobody, nobody),
		p.dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			p.w.T.Fatalf("%v: %s", err, out)
		}
	}
	for d := filepath.Dir(p.dir); d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			p.w.T.Fatal(err)
		}
	}
	p.user = &syscall.Credential{Uid: nobody, Gid: nobody}
}

func (p *pod) start(part string) *exec.Cmd {
	p.w.T.Helper()
	cmd := exec.Command(p.binary, part)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), rootVariable + "=" + p.dir, "KUBERNETES_SERVICE_HOST=10.0.0.1",
		"JAVA_HOME=/opt/java"}
	if part != "exec" {
		cmd.Env = append(cmd.Env, "JOB_ID="+string(p.w.index.JobID), "POD_UID="+p.name, "ORCH_BASE_URL="+p.w.server.URL,
			"TOKEN_FILE="+filepath.Join(p.dir, "token"), "KILL_GRACE="+p.grace.String(), "PATIENCE=1m")
	}
	out := &output{}
	p.out[part] = out
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		p.w.T.Fatal(err)
	}
	p.w.T.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if p.w.T.Failed() {
			p.w.T.Logf("%s of %s: %s", part, p.name, out)
		}
	})
	return cmd
}

// output is what a process prints, which can be read while it does.
type output struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.String()
}

func code(cmd *exec.Cmd) int {
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

// install is the hook that Kubernetes runs when the sidecar has begun, and before it starts exec.
func (p *pod) install() {
	p.w.T.Helper()
	if got := code(p.start("install")); got != 0 {
		p.w.T.Fatalf("install ended with %d: %s", got, p.out["install"])
	}
	if info, err := os.Stat(filepath.Join(p.dir, "bin", executor.PodAgentName)); err != nil ||
		info.Mode().Perm()&0o111 != 0o111 {
		p.w.T.Errorf("installed %v, %v", info, err)
	}
	for name, want := range map[string]string{
		executor.PodPasswd: fmt.Sprintf("job:x:%d:%d:job:%s:/bin/sh\n", os.Getuid(), os.Getgid(),
			filepath.Join(p.dir, "workspace", "files")),
		executor.PodGroup: fmt.Sprintf("job:x:%d:\n", os.Getgid()),
	} {
		if got, err := os.ReadFile(filepath.Join(p.dir, "bin", name)); err != nil || p.user == nil &&
			!strings.HasPrefix(string(got), want) {
			p.w.T.Errorf("installed %s %q, %v", name, got, err)
		}
	}
}

// begin starts both containers.
func (p *pod) begin() (sidecar, main *exec.Cmd) {
	p.w.T.Helper()
	sidecar = p.start("sidecar")
	p.install()
	return sidecar, p.start("exec")
}

// run is the whole life of the pod, in which nothing goes wrong. It returns the exit code of the
// program's container.
func (p *pod) run() int {
	p.w.T.Helper()
	sidecar, main := p.begin()
	exit := code(main)
	p.stop(sidecar)
	return exit
}

// stop ends the sidecar as Kubernetes does once the program's container has ended.
func (p *pod) stop(sidecar *exec.Cmd) {
	p.w.T.Helper()
	p.verdict = p.terminate(sidecar)
	// -1: before it had begun
	if !slices.Contains([]int{0, -1, executor.PodRetry, executor.PodNoRetry}, p.verdict) {
		p.w.T.Errorf("sidecar ended with %d: %s", p.verdict, p.out["sidecar"])
	}
}

// terminate sends SIGTERM and returns the exit code, or -1 when the process knew of nothing but its
// default.
func (p *pod) terminate(cmd *exec.Cmd) int {
	p.w.T.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.w.T.Fatal(err)
	}
	return code(cmd)
}

func (w *fixture) terminal(phase job.Phase, reason job.Reason) *job.Terminal {
	w.T.Helper()
	got, err := w.Ledger.Terminal(w.T.Context(), w.index.JobID)
	if err != nil {
		w.T.Fatal(err)
	}
	if got.Phase != phase || got.Reason != reason {
		w.T.Errorf("the job is %s (%s: %s), want %s (%s)", got.Phase, got.Reason, got.Message, phase, reason)
	}
	return got
}

func (w *fixture) notOver() {
	w.T.Helper()
	if over, err := w.Ledger.Over(w.T.Context(), w.index.JobID); err != nil || over {
		w.T.Fatalf("over: %v, %v", over, err)
	}
}

func (w *fixture) log() string {
	w.T.Helper()
	var b strings.Builder
	r := logstore.Reader{Store: w.Store, Records: w.Ledger}
	q := logstore.Query{Tail: logstore.All, Streams: []spool.Stream{spool.Stdout, spool.Stderr}}
	if _, err := r.Copy(w.T.Context(), w.index.JobID, q, nil, logstore.Text{W: &b}); err != nil {
		w.T.Fatal(err)
	}
	return b.String()
}

func (w *fixture) output(name string) string {
	w.T.Helper()
	data, err := w.Store.Read(w.T.Context(), ledger.ResultKey(w.index.JobID, name))
	if err != nil {
		w.T.Fatal(err)
	}
	return string(data)
}

func (w *fixture) until(what string, ok func() bool) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(w.T.Context(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			w.T.Fatalf("waited in vain until %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestPod(t *testing.T) {
	w := newFixture(t, `echo "$@" "$A"; echo oops >&2; mkdir results/a; env >results/a/env; exit 3`, func(i *job.Index) {
		i.Args, i.Env = []string{"$(A)", "$$(JOB_ID)", "*", ""}, map[string]string{"A": "$(B)"}
	})
	p := w.pod("one")
	if got := p.run(); got != 3 {
		t.Errorf("the program's container ended with %d: %s", got, p.out["exec"])
	}
	end := w.terminal(job.Failed, job.ReasonError)
	if end.ExitCode == nil || *end.ExitCode != 3 || end.Outputs == nil || end.Outputs.Count != 3 ||
		len(end.Attempts) != 1 {
		t.Errorf("recorded %+v", end)
	}
	if got, want := w.log(), "$(A) $$(JOB_ID) *  $(B)\noops\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	for _, want := range []string{"$(A)", "oops"} {
		if !strings.Contains(p.out["exec"].String(), want) {
			t.Errorf("kubectl logs would not show %q but %q", want, p.out["exec"])
		}
	}
	env := w.output("a/env")
	for _, want := range []string{"JAVA_HOME=/opt/java\n", "A=$(B)\n", "JOB_ID=" + string(w.index.JobID) + "\n",
		"JOB_ATTEMPT=1\n", "OUTPUT_DIR="} {
		if !strings.Contains(env, want) {
			t.Errorf("the program's environment lacks %q: %s", want, env)
		}
	}
	if strings.Contains(env, "KUBERNETES_") || strings.Contains(env, w.Keys.Derive(token.Agent, w.index.JobID)) {
		t.Errorf("the program's environment has what is none of its business: %s", env)
	}
}

// What another job has left comes with its folders, whatever is in their names.
func TestFilesInFolders(t *testing.T) {
	names := []string{"inputs/a b/ü%2F?#", "inputs/deep/er/status.json", "inputs/deep/results", "inputs/stdout.log"}
	w := newFixture(t, "find inputs -type f | LC_ALL=C sort | while read -r f; do cat \"$f\"; echo; done\n",
		func(i *job.Index) {
			for _, name := range names {
				i.Files = append(i.Files, job.File{Name: name})
			}
		})
	p := w.pod("pod-1")
	if c := p.run(); c != 0 {
		t.Errorf("code %d: %s", c, p.out["exec"])
	}
	w.terminal(job.Succeeded, job.ReasonCompleted)
	if got, want := w.output(job.StdoutFile), strings.Join(names, "\n")+"\n"; got != want {
		t.Errorf("the program found %q, want %q", got, want)
	}
}

// A retry is another pod, whose log goes on where that of the first one ended.
func TestRetry(t *testing.T) {
	w := newFixture(t, "echo one more; echo error >&2; exit 1", retries(2))
	for n := range 3 {
		w.notOver()
		if got := w.pod(fmt.Sprint("pod", n)).run(); got != 1 {
			t.Errorf("attempt %d ended with %d", n+1, got)
		}
	}
	end := w.terminal(job.Failed, job.ReasonError)
	if len(end.Attempts) != 3 {
		t.Errorf("%d attempts", len(end.Attempts))
	}
	if got := w.log(); strings.Count(got, "one more\n") != 3 || strings.Count(got, "error\n") != 3 {
		t.Errorf("log %q", got)
	}
	if got := w.output("stdout.log"); got != strings.Repeat("one more\n", 3) {
		t.Errorf("the whole log is %q", got)
	}
}

// Kubernetes may start two pods of one Job.
func TestTwins(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "go")
	w := newFixture(t, "echo once; while ! test -e "+gate+"; do sleep 0.1; done")
	first, second := w.pod("first"), w.pod("second")
	sidecar1, main1 := first.begin()
	w.until("the first one runs", func() bool { return strings.Contains(w.log(), "once") })
	sidecar2, main2 := second.begin()
	w.until("the second one asks", func() bool {
		_, err := os.Stat(filepath.Join(second.dir, "workspace", "ready.json"))
		return err == nil
	})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := code(main1); got != 0 {
		t.Errorf("the first one ended with %d", got)
	}
	first.stop(sidecar1)
	if got := code(main2); got != 0 {
		t.Errorf("the second one ended with %d", got)
	}
	second.stop(sidecar2)
	if end := w.terminal(job.Succeeded, job.ReasonCompleted); len(end.Attempts) != 1 {
		t.Errorf("%d attempts", len(end.Attempts))
	}
	if got := w.log(); got != "once\n" {
		t.Errorf("log %q", got)
	}
}

func TestNothingToDo(t *testing.T) {
	tests := map[string]func(w *fixture) error{
		"cancelled": func(w *fixture) error { return w.Ledger.RequestCancel(w.T.Context(), w.index.JobID) },
		"over": func(w *fixture) error {
			_, _, err := w.Ledger.Finish(w.T.Context(), w.index, job.Terminal{Phase: job.Failed, Reason: job.ReasonPullBackOff,
				FinishedAt: time.Now()})
			return err
		},
		"removed": func(w *fixture) error { return w.Ledger.AbortUpload(w.T.Context(), w.index.JobID) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			marker := filepath.Join(t.TempDir(), "ran")
			w := newFixture(t, "touch "+marker)
			if err := change(w); err != nil {
				t.Fatal(err)
			}
			if got := w.pod("one").run(); got != 0 {
				t.Errorf("the program's container ended with %d", got)
			}
			if _, err := os.Stat(marker); err == nil {
				t.Error("the program ran")
			}
		})
	}
}

// A pod that is deleted gets SIGTERM: the program may end by itself, and what is there is reported
// for who finds out why.
func TestStopped(t *testing.T) {
	w := newFixture(t, `trap 'echo bye; echo x >results/x; exit 5' TERM; echo begun; while :; do sleep 0.1; done`)
	p := w.pod("one")
	sidecar, main := p.begin()
	w.until("it runs", func() bool { return strings.Contains(w.log(), "begun") })
	if err := main.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := code(main); got != 5 {
		t.Errorf("the program's container ended with %d", got)
	}
	p.stop(sidecar)
	w.notOver()
	r, err := w.Ledger.Report(t.Context(), w.index.JobID, 1)
	if err != nil || r.Attempt.Reason != job.ReasonInterrupted || *r.Attempt.ExitCode != 5 || len(r.Files) != 3 {
		t.Errorf("reported %+v, %v", r, err)
	}
	// a shell may add that its sleep was ended
	if got := w.log(); !strings.HasPrefix(strings.Replace(got, "Terminated\n", "", 1), "begun\nbye\n") {
		t.Errorf("log %q", got)
	}
}

// What the program has started has until the end of the grace as well, whether or not the program
// itself is still there.
func TestGrace(t *testing.T) {
	const worker = `trap "sleep 0.5; echo x >results/x; exit" TERM; echo begun; while :; do sleep 0.05; done`
	const deaf = `trap "" TERM; echo begun; while :; do sleep 0.05; done`
	tests := map[string]struct {
		script  string
		grace   time.Duration
		outputs int // both logs among them
		atLeast time.Duration
		order   syscall.Signal
	}{
		"child":      {"sh -c '" + worker + "'; :", time.Minute, 3, 0, syscall.SIGTERM},
		"background": {"sh -c '" + worker + "' & wait", time.Minute, 3, 0, syscall.SIGTERM},
		"daemon": {"(setsid sh -c '" + worker + "' &); exec sleep 1000", time.Minute, 3, 0,
			syscall.SIGTERM},
		"deaf child": {"sh -c '" + deaf + "'; :", time.Second, 2, time.Second, syscall.SIGTERM},
		"deaf daemon": {"(setsid sh -c '" + deaf + "' &); exec sleep 1000", time.Second, 2, time.Second,
			syscall.SIGTERM},
		"an image's own signal":    {"echo begun; sleep 1000 & wait", time.Minute, 2, 0, syscall.SIGQUIT},
		"an image's unusual order": {"echo begun; sleep 1000 & wait", time.Minute, 2, 0, syscall.SIGWINCH},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, tt.script)
			p := w.pod("one")
			p.grace = tt.grace
			sidecar, main := p.begin()
			w.until("it runs", func() bool { return strings.Contains(w.log(), "begun") })
			asked := time.Now()
			if err := main.Process.Signal(tt.order); err != nil {
				t.Fatal(err)
			}
			if got := code(main); got != 143 {
				t.Errorf("the program's container ended with %d", got)
			}
			if took := time.Since(asked); took < tt.atLeast || took > tt.grace+30*time.Second {
				t.Errorf("it took %s, with a grace of %s", took, tt.grace)
			}
			p.stop(sidecar)
			r, err := w.Ledger.Report(t.Context(), w.index.JobID, 1)
			if err != nil || len(r.Files) != tt.outputs {
				t.Errorf("reported %+v, %v", r, err)
			}
		})
	}
}

// The program has the user of what runs it, which must not be in its power.
func TestOutOfReach(t *testing.T) {
	attacks := []string{
		"kill -ILL $PPID && kill -SEGV $PPID && kill -SYS $PPID && kill -ABRT $PPID && ! :", "cat /proc/$PPID/environ",
		"ls /proc/$PPID/fd/",
		"ls /proc/$PPID/root/",
	}
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < referABI {
		t.Logf("without Landlock the agent's files are not protected: ABI %d, %v", abi, err)
	} else {
		attacks = append(attacks, "echo forged >> ../log/stdout.log", "truncate -s 0 ../log/stdout.log",
			"rm ../log/stderr.log", "rm -r ../log",
			"mv ../log ../old", "mv ../log/order .", "ln ../log/stdout.log mine", "touch ../log/new", "mkdir ../new",
			"mv main ../start.json", "mv main ../turn.json",
			"echo {} > ../exit.json", "echo {} > ../done.json", "echo {} > ../task.json", "rm ../task.json",
			"ln -s log ../link", "rmdir ../tmp",
			"cd ../log && echo forged >> order", "cp main /proc/self/cwd/../start.json", "mv $PWD ../other",
		)
	}
	if abi >= scopeABI {
		attacks = append(attacks, "kill -0 $PPID", "kill -TERM $PPID", "kill -USR1 $PPID")
	}
	script := "mkdir a b; echo x >a/f\n"
	for _, a := range attacks {
		script += "(" + a + ") 2>/dev/null && echo '" + a + "'\n"
	}
	// What every program may do.
	for _, use := range []string{"mv a/f b/f", "ln b/f a/f", "mv a/f f", "mv b results/b", "rm f", "touch ../tmp/x",
		"mkfifo p", "ln -s x l",
		"echo x >/dev/null", "head -c 1 /dev/urandom >r", "truncate -s 5 r", "cat ../log/order >copy", "echo x >/dev/stderr",
		"sleep 100 & kill $!"} {
		script += use + " || echo 'failed: " + use + "'\n"
	}
	w := newFixture(t, script+"echo alive\n")
	p := w.pod("one")
	p.ordinary()
	if got := p.run(); got != 0 {
		t.Errorf("the program's container ended with %d", got)
	}
	w.terminal(job.Succeeded, job.ReasonCompleted)
	if got := w.output(job.StdoutFile); got != "alive\n" {
		t.Errorf("the program says %q", got)
	}
	if got := w.output("b/f"); got != "x\n" {
		t.Errorf("the output is %q", got)
	}
}

// When memory runs out the kernel may kill the whole container, agent included.
func TestContainerKilled(t *testing.T) {
	w := newFixture(t, `echo begun; echo x >results/x; exec sleep 1000`)
	p := w.pod("one")
	sidecar, main := p.begin()
	w.until("it runs", func() bool { return strings.Contains(w.log(), "begun") })
	_ = main.Process.Kill()
	_ = main.Wait()
	p.stop(sidecar)
	w.notOver()
	r, err := w.Ledger.Report(t.Context(), w.index.JobID, 1)
	if err != nil || r.Attempt.Reason != job.ReasonInterrupted || r.Attempt.ExitCode != nil ||
		r.Attempt.Outputs.Count != 3 {
		t.Errorf("reported %+v, %v", r, err)
	}
	if got := w.output("x"); got != "x\n" {
		t.Errorf("output %q", got)
	}
}

// Cancelling is the one thing from outside that needs no looking into.
func TestCancelledWhileRunning(t *testing.T) {
	w := newFixture(t, `echo begun; exec sleep 1000`, retries(3))
	p := w.pod("one")
	sidecar, main := p.begin()
	w.until("it runs", func() bool { return strings.Contains(w.log(), "begun") })
	if err := w.Ledger.RequestCancel(t.Context(), w.index.JobID); err != nil {
		t.Fatal(err)
	}
	if err := main.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = main.Wait()
	p.stop(sidecar)
	if end := w.terminal(job.Cancelled, job.ReasonCancelled); end.Outputs == nil || *end.ExitCode != 143 {
		t.Errorf("recorded %+v", end)
	}
}

// A sidecar that is started anew goes on where it was.
func TestSidecarRestarted(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "go")
	w := newFixture(t, "echo first; while ! test -e "+gate+"; do sleep 0.1; done; echo second")
	p := w.pod("one")
	sidecar, main := p.begin()
	w.until("the first line is shipped", func() bool { return w.log() == "first\n" })
	_ = sidecar.Process.Kill()
	_ = sidecar.Wait()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sidecar = p.start("sidecar")
	if got := code(main); got != 0 {
		t.Errorf("ended with %d", got)
	}
	w.until("all is stored", func() bool {
		_, err := os.Stat(filepath.Join(p.dir, "workspace", "done.json"))
		return err == nil
	})
	p.stop(sidecar)
	w.terminal(job.Succeeded, job.ReasonCompleted)
	if got := w.log(); got != "first\nsecond\n" {
		t.Errorf("log %q", got)
	}
	sidecar = p.start("sidecar") // and once more when all is done
	p.stop(sidecar)
	if end := w.terminal(job.Succeeded, job.ReasonCompleted); len(end.Attempts) != 1 {
		t.Errorf("%d attempts", len(end.Attempts))
	}
}

// Functions start from zero and fail for a while: nothing is lost for it.
func TestTrouble(t *testing.T) {
	w := newFixture(t, "echo hello; echo x >results/x")
	var seen sync.Map
	trouble := func(rw http.ResponseWriter, r *http.Request) bool {
		n, _ := seen.LoadOrStore(r.Method+r.URL.Path, &atomic.Int32{})
		switch n.(*atomic.Int32).Add(1) {
		case 1:
			rw.WriteHeader(http.StatusInternalServerError)
			return true
		case 2: // an answer that breaks off
			rw.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(rw, "{")
			panic(http.ErrAbortHandler)
		}
		return false
	}
	w.trouble.Store(&trouble)
	if got := w.pod("one").run(); got != 0 {
		t.Errorf("ended with %d", got)
	}
	if end := w.terminal(job.Succeeded, job.ReasonCompleted); end.Outputs.Count != 3 {
		t.Errorf("recorded %+v", end)
	}
	if got := w.output("x"); got != "x\n" {
		t.Errorf("output %q", got)
	}
}

// A stored file that is not the one that was accepted is not run. Both containers fail, so that the
// pod does, and the sidecar says why in a way that no program can.
func TestChangedFile(t *testing.T) {
	w := newFixture(t, "echo hello")
	if _, err := w.Store.Put(t.Context(), ledger.FileKey(w.index.JobID, "main"),
		strings.NewReader("#!/bin/sh\necho hallo")); err != nil {
		t.Fatal(err)
	}
	p := w.pod("one")
	sidecar, main := p.begin()
	if got := code(main); got != exitPlatform {
		t.Errorf("the program's container ended with %d", got)
	}
	_ = sidecar.Process.Kill() // it is started anew, and knows it still
	_ = sidecar.Wait()
	words := func() string {
		text, _ := os.ReadFile(filepath.Join(p.dir, "termination-log"))
		return string(text)
	}
	if got := words(); !strings.Contains(got, "main") || !strings.Contains(got, "SHA-256") {
		t.Errorf("termination message of exec %q", got)
	}
	if err := os.Remove(filepath.Join(p.dir, "termination-log")); err != nil {
		t.Fatal(err)
	}
	sidecar = p.start("sidecar")
	w.until("sidecar knows", func() bool { return strings.Contains(p.out["sidecar"].String(), "files not fetched") })
	if got := p.terminate(sidecar); got != executor.PodFetchFailed {
		t.Errorf("sidecar ended with %d", got)
	}
	if got := words(); !strings.Contains(got, "main") || !strings.Contains(got, "SHA-256") {
		t.Errorf("termination message of sidecar %q", got)
	}
	w.notOver()
}

// A pod that is stopped while its files come has not failed to get them.
func TestStoppedWhileFetching(t *testing.T) {
	w := newFixture(t, "echo hello")
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	trouble := func(_ http.ResponseWriter, r *http.Request) bool {
		once.Do(func() { close(asked) })
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}
	w.trouble.Store(&trouble)
	defer close(release)
	p := w.pod("one")
	sidecar, main := p.begin()
	<-asked
	if got := p.terminate(main); got == 0 {
		t.Error("the program's container ended well")
	}
	if got := p.terminate(sidecar); got == 0 || got == executor.PodFetchFailed {
		t.Errorf("sidecar ended with %d", got)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "workspace", "task.json")); err == nil {
		t.Error("there is a task")
	}
}

func TestCannotRun(t *testing.T) {
	w := newFixture(t, "", func(i *job.Index) { i.Runtime = "python" })
	p := w.pod("one")
	// An image without the interpreter.
	sidecar := p.start("sidecar")
	cmd := exec.Command(os.Args[0], "exec")
	cmd.Env = []string{"PATH=/nowhere", rootVariable + "=" + p.dir}
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != exitPlatform {
		t.Errorf("ended with %d", got)
	}
	p.stop(sidecar)
	if end := w.terminal(job.Failed, job.ReasonCannotRun); !strings.Contains(end.Message, "python3") {
		t.Errorf("message %q", end.Message)
	}
}

var _ executor.Results = (*client)(nil)
