package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/cmd/gojob/internal/follow"
	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/shared/job"
)

// TestExitOf has the exit code of each end of a job.
func TestExitOf(t *testing.T) {
	t.Parallel()
	for code := 1; code < 256; code++ {
		s := &job.Status{Summary: job.Summary{Phase: job.Failed, Reason: job.ReasonError, ExitCode: &code}}
		if got := exitOf(s); got != code {
			t.Errorf("a program that ended with %d: %d", code, got)
		}
	}
	deadline := 143
	for _, test := range []struct {
		phase  job.Phase
		reason job.Reason
		want   int
	}{
		{job.Succeeded, job.ReasonCompleted, 0},
		{job.Cancelled, job.ReasonCancelled, 130},
		{job.Failed, job.ReasonDeadlineExceeded, 124},
		{job.Failed, job.ReasonOOMKilled, 137},
		{job.Failed, job.ReasonEvicted, 125},
		{job.Failed, job.ReasonCannotRun, 125},
		{job.Failed, job.ReasonFetchFailed, 125},
		{job.Failed, job.ReasonStartFailed, 125},
		{job.Failed, job.ReasonOutputsLost, 125},
		{job.Failed, job.ReasonInterrupted, 125},
		{job.Failed, job.ReasonNodeLost, 125},
		{job.Failed, job.ReasonPreempted, 125},
		{job.Failed, job.ReasonDependenciesFailed, 125},
		{job.Failed, job.ReasonPullBackOff, 125},
		{job.Failed, "SomethingNew", 125},
	} {
		s := &job.Status{Summary: job.Summary{Phase: test.phase, Reason: test.reason, ExitCode: &deadline}}
		if got := exitOf(s); got != test.want {
			t.Errorf("%s (%s): %d, want %d", test.phase, test.reason, got, test.want)
		}
	}
}

// TestStates has a run say each step of a job's life once, although the log is ahead of the states.
func TestStates(t *testing.T) {
	t.Parallel()
	three, code := 3, 3
	at := func(phase job.Phase, reason job.Reason, attempts ...job.Attempt) *job.Status {
		return &job.Status{Summary: job.Summary{Phase: phase, Reason: reason}, Attempts: attempts}
	}
	failed := job.Attempt{Number: 1, Reason: job.ReasonError, ExitCode: &code}
	queued := at(job.Pending, job.ReasonQueued)
	queued.Queue = &job.Queue{Position: 4, Ahead: &three}
	kueue := at(job.Pending, job.ReasonQueued)
	kueue.Queue = &job.Queue{Name: "team"}
	stuck := at(job.Pending, job.ReasonPullBackOff)
	stuck.Message = "no such image"
	var said bytes.Buffer
	s := &session{app: &app{}, console: &console{out: &said}, id: "fe5ddbd91522000000000000000000ab"}
	s.start.name = "words"
	for _, status := range []*job.Status{
		queued, queued, kueue, at(job.Pending, job.ReasonPreparing), stuck, at(job.Running, "", job.Attempt{Number: 1}),
		at(job.Running, job.ReasonRetrying, failed),
	} {
		s.state(stateText(status))
	}
	s.state(runningText(2), runs(2)) // from the log
	for _, status := range []*job.Status{
		queued, at(job.Running, "", job.Attempt{Number: 1}), at(job.Running, job.ReasonRetrying, failed),
		at(job.Running, "", failed, job.Attempt{Number: 2}), at(job.Running, job.ReasonNodeLost, failed, job.Attempt{Number: 2}),
		at(job.Succeeded, job.ReasonCompleted, failed, job.Attempt{Number: 2}),
	} {
		s.state(stateText(status))
	}
	want := strings.Join([]string{
		"queued, 3 jobs ahead", "queued in team", "preparing: installs the packages that it needs",
		"ImagePullBackOff: no such image", "running", "attempt 1 failed with exit code 3; the next one follows",
		"running, attempt 2", "NodeLost",
	}, "\n")
	if diff := cmp.Diff(want, strings.TrimSpace(strings.ReplaceAll(said.String(), "gojob: words · fe5ddbd91522 · ", ""))); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

// TestAttemptSaid has attempts end before their programs begin, and after.
func TestAttemptSaid(t *testing.T) {
	t.Parallel()
	const running = "gojob: words · fe5ddbd91522 · running\n"
	for _, test := range []struct {
		reason job.Reason
		output string
		want   string
	}{
		{job.ReasonDependenciesFailed, "", ""},
		{job.ReasonFetchFailed, "", ""},
		{job.ReasonCompleted, "", running},
		{job.ReasonCompleted, "hello\n", running + "hello\n"},
		{job.ReasonDependenciesFailed, "hello\n", running + "hello\n"}, // of a program, whatever is said of it
	} {
		var said bytes.Buffer
		s := &session{app: &app{}, console: &console{out: &said}, id: "fe5ddbd91522000000000000000000ab"}
		s.start.name = "words"
		sink := &runSink{session: s, stdout: &said, stderr: &said}
		if err := sink.Attempt(1); err != nil {
			t.Fatal(err)
		}
		if test.output != "" {
			if err := sink.Write("stdout", time.Time{}, []byte(test.output)); err != nil {
				t.Fatal(err)
			}
		}
		sink.end(&follow.End{Reason: test.reason})
		s.states.end()
		if said.String() != test.want {
			t.Errorf("%s after %q: said %q, want %q", test.reason, test.output, said.String(), test.want)
		}
	}
}

// TestFill translates flags into fields.
func TestFill(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"FROM_HERE": "here", "SECRET": "@value"}
	a := &app{getenv: func(name string) string { return environment[name] }}
	dir := t.TempDir()
	file := filepath.Join(dir, "env")
	if err := os.WriteFile(file, []byte("# comment\r\n\r\nIN_FILE=a=\"b\"\r\n  FROM_HERE\nTWICE=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &jobFlags{
		env: []string{"TWICE=flag", "EMPTY="}, envFiles: []string{file}, secrets: []string{"SECRET", "NAMED=@db", "GIVEN=x"},
		labels: []string{"team=data", "empty="}, retryOn: []string{"3", "OOMKilled"}, cpu: "500m", memory: "256MB",
		timeout: "1h30m", ttl: "7d", name: "a name", noDeps: true,
	}
	made := &form.Form{}
	if err := a.fill(made, f, []string{"a", "<b>"}); err != nil {
		t.Fatal(err)
	}
	want := []form.Field{
		{Name: "name", Value: "a name"},
		{Name: "env", Value: `{"EMPTY":"","FROM_HERE":"here","IN_FILE":"a=\"b\"","TWICE":"flag"}`},
		{Name: "labels", Value: `{"empty":"","team":"data"}`}, {Name: "cpu", Value: "500m"}, {Name: "memory", Value: "256M"},
		{Name: "timeoutSeconds", Value: "5400"}, {Name: "ttlSecondsAfterFinished", Value: "604800"},
		{Name: "retryOn", Value: `["3","OOMKilled"]`}, {Name: "dependencies", Value: "off"}, {Name: "args", Value: `["a","<b>"]`},
		{Name: "secret.SECRET", Value: "@@value"}, {Name: "secret.NAMED", Value: "@db"}, {Name: "secret.GIVEN", Value: "x"},
	}
	if diff := cmp.Diff(want, made.Fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// TestFaults has each wrong flag named, and no value of a secret.
func TestFaults(t *testing.T) {
	t.Parallel()
	a := &app{getenv: func(string) string { return "" }}
	for want, f := range map[string]*jobFlags{
		"-e NOT_THERE": {env: []string{"NOT_THERE"}}, `-e "PATH"`: {env: []string{"PATH=x"}}, `-s "A B"`: {secrets: []string{"A B=hunter2"}},
		"-s A: is given twice": {secrets: []string{"A=hunter2", "A=hunter2"}}, "-s NUL": {secrets: []string{"NUL=hunter2\x00"}},
		"--env-file": {envFiles: []string{"/not/there"}}, `--label "team"`: {labels: []string{"team"}},
		`--label "a b=c"`: {labels: []string{"a b=c"}}, "--memory": {memory: "lots"}, "did you mean 512M or 512Mi?": {memory: "512m"},
		"--cpu": {cpu: "many"}, "--timeout": {timeout: "0s"}, "did you mean 90s or 90m?": {timeout: "90"}, "--ttl": {ttl: "-1s"},
		"--ttl: \"9999d\" is out of range": {ttl: "9999d"},
	} {
		err := a.fill(&form.Form{}, f, nil)
		var wrong *usageError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want a usage error with %q", err, want)
		}
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"512Mi": "512Mi", "1G": "1G", "268435456": "268435456", "256MB": "256M", "256mb": "256M", "1.5gb": "1.5G", "1GiB": "1Gi",
		"64 MiB": "64Mi", "2048kib": "2048Ki", "": "",
	} {
		if got, err := memoryOf(text); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"1s": "1", "1ms": "1", "1.5s": "2", "10m": "600", "2h": "7200", "3d": "259200", "0": "0"} {
		if got, err := seconds("ttl", text, 0); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestConsole has nothing of others control the terminal.
func TestConsole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{out: &out, terminal: true, colour: true, width: func() int { return 30 }}
	c.show("a status line that is too long for the terminal\x1b[31m")
	program := &programOutput{console: c, out: &out, terminal: true}
	_, _ = program.Write([]byte("\x1b[31mbytes"))
	c.show("is not shown in the middle of a line")
	c.say("%s · %s", c.paint(green, "ours\x1b]"), "theirs\x1b[2J\u009b")
	want := "\r\x1b[2mgojob: a status line that is…\x1b[0m" + "\r\x1b[K" + "\x1b[31mbytes" + "\n" +
		"\x1b[2mgojob:\x1b[0m \x1b[32mours\ufffd]\x1b[0m · theirs\ufffd[2J\ufffd\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	out.Reset()
	plain := &console{out: &out, quiet: true}
	plain.say("not said")
	plain.show("not shown")
	plain.fail("said %d", 7)
	if out.String() != "gojob: said 7\n" {
		t.Errorf("written quietly: %q", out.String())
	}
}

// TestStamps begins each line with a time, also of lines that come in parts.
func TestStamps(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := stamped(&out, true)
	at := time.Date(2026, 11, 30, 18, 30, 23, 950353000, time.UTC)
	for i, part := range []string{"one", "\ntwo\n", "", "\n", "three"} {
		if err := w.write(at.Add(time.Duration(i)*time.Second), []byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	want := "2026-11-30T18:30:23.950353Z one\n2026-11-30T18:30:24.950353Z two\n2026-11-30T18:30:26.950353Z \n" +
		"2026-11-30T18:30:27.950353Z three"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

// TestNotCollected leaves out what interpreters write.
func TestNotCollected(t *testing.T) {
	t.Parallel()
	s := &job.Status{NotCollected: &job.NotCollected{Count: 4, Names: []string{"a.txt", "pkg/__pycache__/", ".venv/", "b.txt"}}}
	names, n := notCollectedFiles(s)
	if diff := cmp.Diff([]string{"a.txt", "b.txt"}, names); diff != "" || n != 2 {
		t.Errorf("%d files (-want +got):\n%s", n, diff)
	}
}

func TestLasted(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[string]string{"0.04": "0.0s", "1.34": "1.3s", "59.4": "59s", "125": "2m 05s", "12000": "3h 20m"} {
		n, err := strconv.ParseFloat(seconds, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := lasted(time.Duration(n * float64(time.Second))); got != want {
			t.Errorf("%s s: %q, want %q", seconds, got, want)
		}
	}
}
