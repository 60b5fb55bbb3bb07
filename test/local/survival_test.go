package local

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

// restart kills the server and starts it again on the same directory.
func (s *server) restart() {
	s.t.Helper()
	s.kill()
	s.start()
}

// exists reports whether a file below the storage directory exists.
func (s *server) exists(pattern string) bool {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(found) > 0
}

// TestKilled kills the server with SIGKILL at points of a job's life, starts it again and looks at
// the job.
func TestKilled(t *testing.T) {
	t.Parallel()
	const hang = "echo begun; exec sleep 1000\n"
	tests := []struct {
		name   string
		form   form
		before func(s *server) // before the job is sent
		point  func(j *sent)   // returns when the server is to be killed
		phase  job.Phase
		reason job.Reason
		starts int // lines "begun" in the log in the end
	}{
		{
			name: "as soon as it is accepted", form: script("echo begun\n", "retries=1"),
			point: func(*sent) {}, phase: job.Succeeded, reason: job.ReasonCompleted, starts: -1,
		},
		{
			name: "while it waits", form: script("echo begun\n"),
			before: func(s *server) { s.submit(script(hang)).running("begun") },
			point:  func(j *sent) { mustBe(j, job.Pending) },
			phase:  job.Succeeded, reason: job.ReasonCompleted, starts: 1,
		},
		{
			name: "when an attempt is claimed", form: script(hang),
			point: func(j *sent) { j.record("attempt-0001-start.json") },
			phase: job.Failed, reason: job.ReasonInterrupted, starts: -1,
		},
		{
			name: "while it runs", form: script(hang),
			point: func(j *sent) { j.running("begun") },
			phase: job.Failed, reason: job.ReasonInterrupted, starts: 1,
		},
		{
			name: "while it runs, with a retry", form: script("echo begun; test -e results/second && exit 0; test "+
				"$JOB_ATTEMPT = 2 || exec sleep 1000\n", "retries=1"),
			point: func(j *sent) { j.running("begun") },
			phase: job.Succeeded, reason: job.ReasonCompleted, starts: 2,
		},
		{
			name: "between two attempts", form: script("echo begun; test $JOB_ATTEMPT = 2\n", "retries=1"),
			before: func(s *server) { s.vars["RETRY_BACKOFF"] = "1h"; s.restart(); s.vars["RETRY_BACKOFF"] = "10ms" },
			point:  func(j *sent) { j.record("attempt-0001-end.json") },
			phase:  job.Succeeded, reason: job.ReasonCompleted, starts: 2,
		},
		{
			name: "while outputs are stored", form: script("echo begun; i=0; while [ $i -lt 3000 ]; do echo $i > results/$i; " +
				"i=$((i+1)); done\n"),
			point: func(j *sent) {
				j.s.until("an output is stored", func() bool { return j.s.exists(j.ID + "/results/1*") })
			},
			phase: job.Succeeded, reason: job.ReasonCompleted, starts: 1,
		},
		{
			name: "when the end is recorded", form: script("echo begun\n"),
			point: func(j *sent) {
				j.s.until("the end is recorded", func() bool { return j.s.exists(j.ID + "/status.json") })
			},
			phase: job.Succeeded, reason: job.ReasonCompleted, starts: 1,
		},
		{
			name: "while a cancel waits for the program", form: python("import signal, time\nsignal.signal(signal.SIGTERM, " +
				"signal.SIG_IGN)\nprint('begun')\ntime.sleep(1000)\n"),
			before: func(s *server) { s.vars["KILL_GRACE"] = "1h"; s.restart(); s.vars["KILL_GRACE"] = "500ms" },
			point: func(j *sent) {
				j.running("begun")
				go func() { // the server is killed before it answers
					req, _ := http.NewRequest(http.MethodPost, j.s.url+j.path()+"/cancel", nil)
					req.Header.Set("Authorization", "Bearer "+j.Token)
					if resp, err := http.DefaultClient.Do(req); err == nil {
						resp.Body.Close()
					}
				}()
				j.record("cancel.json")
			},
			phase: job.Cancelled, reason: job.ReasonCancelled, starts: 1,
		},
		{
			name: "long after its end", form: script("echo begun; echo x > results/x\n"),
			point: func(j *sent) { j.wait() },
			phase: job.Succeeded, reason: job.ReasonCompleted, starts: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=1")
			if tt.before != nil {
				tt.before(s)
			}
			j := s.submit(tt.form)
			tt.point(j)
			s.restart()
			got := j.wait()
			must(t, got, tt.phase, tt.reason)
			log := j.logs("tail=all&stream=stdout")
			if n := strings.Count(log, "begun"); tt.starts >= 0 && n != tt.starts {
				t.Errorf("the program began %d times, want %d", n, tt.starts)
			}
			if n := strings.Count(log, "begun"); n > len(got.Attempts) {
				t.Errorf("the program began %d times in %d attempts", n, len(got.Attempts))
			}
			if tt.reason == job.ReasonInterrupted && got.Message == "" {
				t.Error("no message says why")
			}
			if log != j.output("stdout.log") {
				t.Error("the log and its output differ")
			}
		})
	}
}

// TestPowerFails removes from a workspace what a power failure may have lost. The part of the log
// that was shipped before must be in the final log, once.
func TestPowerFails(t *testing.T) {
	t.Parallel()
	const again = "echo one; test $JOB_ATTEMPT = 2 || exec sleep 1000\n"
	cut := func(size int64) func(workspace string) error {
		return func(workspace string) error { return os.Truncate(filepath.Join(workspace, "log", "stdout.log"), size) }
	}
	for name, tt := range map[string]struct {
		form   form
		last   string // the log's last line
		lose   func(workspace string) error
		phase  job.Phase
		stdout string
		stderr string
	}{
		"nothing": {script("echo one; echo two >&2; echo three; exec sleep 1000\n"), "three",
			func(string) error { return nil }, job.Failed, "one\nthree\n", "two\n"},
		"the end of its log": {script("echo one; echo two >&2; echo three; exec sleep 1000\n"), "three",
			cut(6), job.Failed, "one\nthree\n", "two\n"},
		"all of its log": {script("echo one; echo two >&2; echo three; exec sleep 1000\n"), "three",
			cut(0), job.Failed, "one\nthree\n", "two\n"},
		"the workspace": {script("echo one; echo two >&2; echo three; exec sleep 1000\n"), "three",
			os.RemoveAll, job.Failed, "one\nthree\n", "two\n"},
		"the workspace, before another attempt": {script(again, "retries=1"), "one", os.RemoveAll, job.Succeeded,
			"one\none\n", ""},
		"its log, before another attempt": {script(again, "retries=1"), "one", cut(1), job.Succeeded, "one\none\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, t.TempDir())
			j := s.submit(tt.form)
			j.running(tt.last)
			s.kill()
			workspace := filepath.Join(s.dir, ".local", "work", j.ID)
			s.until("the program has ended", func() bool { return !held(t, filepath.Join(workspace, "hold")) })
			if err := tt.lose(workspace); err != nil {
				t.Fatal(err)
			}
			s.start()
			if got := j.wait(); got.Phase != tt.phase {
				t.Errorf("job is %s (%s: %s), want %s", got.Phase, got.Reason, got.Message, tt.phase)
			}
			for stream, want := range map[string]string{"stdout": tt.stdout, "stderr": tt.stderr} {
				if got := j.logs("tail=all&stream=" + stream); got != want {
					t.Errorf("%s is %q, want %q", stream, got, want)
				}
				if got := j.output(stream + ".log"); got != want {
					t.Errorf("%s.log is %q, want %q", stream, got, want)
				}
			}
		})
	}
}

// held reports whether a file is locked. The lock file of a workspace is locked as long as a
// process of its program lives.
func held(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	return err != nil
}

func mustBe(j *sent, p job.Phase) {
	j.s.t.Helper()
	if got := j.status().Phase; got != p {
		j.s.t.Fatalf("job is %s, want %s", got, p)
	}
}

// record waits until a record of the job's run exists.
func (j *sent) record(name string) {
	j.s.t.Helper()
	j.s.until(name+" exists", func() bool { return j.s.exists(".orchestrator/run/" + j.ID + "/" + name) })
}

// TestKilledUpload kills the server while a job is being sent: nothing of it may stay.
func TestKilledUpload(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	body, contentType := script("echo never\n").encode()
	read, write := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, s.url+"/api/v1/jobs", read)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			t.Error("the request was answered")
		}
	}()
	if _, err := write.Write(body[:len(body)-10]); err != nil {
		t.Fatal(err)
	}
	s.until("the file is stored", func() bool { return s.exists("*/run") })
	s.kill()
	write.Close()
	<-done
	s.start()
	if left := strays(t, s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestKilledRemoval kills the server while it removes a job: the next one completes it.
func TestKilledRemoval(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	j := s.submit(script("i=0; while [ $i -lt 2000 ]; do echo $i > results/$i; i=$((i+1)); done\n", `labels={"a":"b"}`))
	j.wait()
	go func() {
		req, _ := http.NewRequest(http.MethodDelete, s.url+j.path(), nil)
		req.Header.Set("Authorization", "Bearer "+j.Token)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	var left []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("left: %v", left)
		}
	})
	s.until("the removal has begun", func() bool { return s.exists(".orchestrator/removing/*") || !s.exists(j.ID) })
	s.restart()
	s.until("nothing is left", func() bool {
		left = strays(t, s.dir)
		return len(left) == 0
	})
	if !j.gone() {
		t.Error("the job is still there")
	}
}

// TestKilledAtRandom keeps killing the server while jobs are sent. Every job that was accepted must
// end, and none may be run more often than its attempts say.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	const rounds = 8
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=2")
	var jobs []*sent
	span := 400 * time.Millisecond
	for range rounds {
		var mu sync.Mutex
		var senders sync.WaitGroup
		for i := range 6 {
			senders.Go(func() {
				resp, data, err := s.post(script("echo begun; sleep 0.1\n", fmt.Sprintf("retries=%d", i%3)))
				if err != nil || resp.StatusCode != http.StatusCreated {
					return // it was killed before it answered
				}
				mu.Lock()
				defer mu.Unlock()
				jobs = append(jobs, decodeSent(t, s, data))
			})
		}
		time.Sleep(time.Duration(rand.Int64N(int64(span)))) // the server is to die at a random moment
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		senders.Wait()
		s.kill()
		if len(jobs) == 0 {
			span *= 2 // a busy machine takes longer to accept one
		}
		s.start()
	}
	if len(jobs) == 0 {
		t.Fatal("no job was accepted")
	}
	for _, j := range jobs {
		got := j.wait()
		if got.Phase == job.Failed && got.Reason != job.ReasonInterrupted {
			t.Errorf("job %s: %s %s", j.ID, got.Reason, got.Message)
		}
		if n := strings.Count(j.logs("tail=all"), "begun"); n > len(got.Attempts) || len(got.Attempts) > got.Retries+1 {
			t.Errorf("job %s began %d times in %d attempts with %d retries", j.ID, n, len(got.Attempts), got.Retries)
		}
	}
}

// TestKilledTree makes sure that no program outlives the server.
func TestKilledTree(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	mark := fmt.Sprintf("mark-%d-%d", os.Getpid(), time.Now().UnixNano())
	j := s.submit(python("import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        "+
		"time.sleep(1000)\n    os._exit(0)\nprint('begun')\ntime.sleep(1000)\n", "arg="+mark))
	j.running("begun")
	if processes(t, mark) == 0 {
		t.Fatal("the program is not seen")
	}
	s.kill()
	until(t, "all processes are gone", func() bool { return processes(t, mark) == 0 })
}

// TestStopped stops the server in an orderly way: a short job ends, a long one is interrupted, a
// waiting one stays.
func TestStopped(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=3", "DRAIN_TIMEOUT=5s")
	short := s.submit(script("echo begun; sleep 1; echo done\n"))
	long := s.submit(script("echo begun; exec sleep 1000\n"))
	again := s.submit(script("echo begun; test $JOB_ATTEMPT = 2 || exec sleep 1000\n", "retries=1"))
	for _, j := range []*sent{short, long, again} {
		j.running("begun")
	}
	waiting := s.submit(script("echo begun\n"))
	s.stop()
	s.start()
	must(t, short.wait(), job.Succeeded, job.ReasonCompleted)
	must(t, long.wait(), job.Failed, job.ReasonInterrupted)
	must(t, again.wait(), job.Succeeded, job.ReasonCompleted)
	must(t, waiting.wait(), job.Succeeded, job.ReasonCompleted)
	if got := short.logs("tail=all"); got != "begun\ndone\n" {
		t.Errorf("log = %q", got)
	}
}

// TestInUse makes sure that two servers do not share a directory.
func TestInUse(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	out, code := run(t, path, "STORAGE_DIR="+s.dir, "PORT="+freePort(t))
	if code == 0 || !strings.Contains(out, "in use by another server") {
		t.Errorf("a second server ended with %d: %s", code, out)
	}
}
