package local

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// TestStdin has a program of each runtime read what was sent for it. One that is compiled first does
// not lose it to the compiler.
func TestStdin(t *testing.T) {
	s := start(t, t.TempDir())
	const javaMain = `package a;
public class Main {
    public static void main(String[] args) throws Exception {
        System.out.write(System.in.readAllBytes());
        System.out.println(Helper.text());
    }
}
`
	java := form{runtime: "java", entrypoint: "Main.java", files: map[string]string{"Main.java": javaMain,
		"Helper.java": "package a;\nclass Helper { static String text() { return \"compiled\"; } }\n"}}
	node := form{runtime: "node", entrypoint: "main.js", files: map[string]string{"main.js": "const fs = require('fs');\n" +
		"process.stdout.write(fs.readFileSync(0)); process.stdout.write(fs.readFileSync('/dev/stdin'));"}}
	for name, test := range map[string]struct {
		job  form
		want string // with "in" for the input
	}{
		"python":        {python("import sys\nsys.stdout.write(sys.stdin.read() + open('/dev/stdin').read())"), "inin"},
		"node":          {node, "inin"},
		"java":          {java, "incompiled\n"},
		"binary":        {script("cat; cat /dev/stdin; (echo x >/dev/stdin) 2>/dev/null; exit 0"), "inin"},
		"reads nothing": {script("echo over"), "over\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := strings.Repeat("line ü\n", 20_000)
			test.job.fields = append(test.job.fields, "stdin="+input)
			j := s.submit(test.job)
			end := j.wait()
			must(t, end, job.Succeeded, job.ReasonCompleted)
			if got, want := j.logs("tail=all"), strings.ReplaceAll(test.want, "in", input); got != want &&
				name != "reads nothing" {
				t.Errorf("it wrote %d bytes (%.40q), want %d", len(got), got, len(want))
			}
			if end.NotCollected != nil || end.Stdin == nil || end.Stdin.Size != int64(len(input)) {
				t.Errorf("not collected: %+v, input %+v", end.NotCollected, end.Stdin)
			}
			if resp, data := j.call(http.MethodGet, "/artifacts/"+j.ID+"/.stdin"); string(data) != input {
				t.Errorf("%s: %d bytes come back", resp.Status, len(data))
			}
		})
	}
}

// TestLargeStdin streams a GiB through the server. It must not be in memory at any time.
func TestLargeStdin(t *testing.T) {
	const size = 1 << 30
	s := start(t, t.TempDir())
	before := peakMemory(t, s.cmd.Process.Pid)
	body, to := io.Pipe()
	w := multipart.NewWriter(to)
	go func() {
		_ = w.WriteField("runtime", "binary")
		_ = w.WriteField("entrypoint", "run")
		part, _ := w.CreateFormFile("files", "run")
		_, _ = io.WriteString(part, "#!/bin/sh\nwc -c\n")
		part, _ = w.CreateFormFile("stdin", "big")
		_, err := io.CopyN(part, formtest.Zeros{}, size)
		if err == nil {
			err = w.Close()
		}
		to.CloseWithError(err)
	}()
	resp, err := http.Post(s.url+"/api/v1/jobs", w.FormDataContentType(), body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	j := &sent{s: s}
	if err := json.NewDecoder(resp.Body).Decode(j); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if got := strings.TrimSpace(j.logs("")); got != strconv.Itoa(size) {
		t.Errorf("the program has read %s bytes", got)
	}
	if grown := peakMemory(t, s.cmd.Process.Pid) - before; grown > 64<<20 {
		t.Errorf("the server took %d MiB more", grown>>20)
	}
}

// peakMemory returns the most that a process has had in memory.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("VmHWM:"))
	var kilobytes int64
	if _, err := fmt.Sscan(string(rest), &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// TestRetryOn has programs end in ways that are retried and in others.
func TestRetryOn(t *testing.T) {
	s := start(t, t.TempDir())
	const second = `cat; test "$JOB_ATTEMPT" = 1 && exit 3; exit 4`
	const hog = "x = []\nwhile True: x.append(bytearray(1 << 20))"
	for name, test := range map[string]struct {
		job      form
		reason   job.Reason
		attempts int
		log      string
	}{
		"another code": {script("exit 4", "retries=3", `retryOn=["3","OOMKilled"]`), job.ReasonError, 1, ""},
		"the code": {script(second, "retries=3", `retryOn=["1-3"]`, "stdin=in\n"), job.ReasonError, 2,
			"in\nin\n"}, // each attempt reads from the beginning
		"any failure":      {script("exit 9", "retries=2", `retryOn=["Error"]`), job.ReasonError, 3, ""},
		"no memory":        {python(hog, "memory=64Mi", "retries=1", `retryOn=["OOMKilled"]`), job.ReasonOOMKilled, 2, ""},
		"no memory, codes": {python(hog, "memory=64Mi", "retries=1", `retryOn=["1-100"]`), job.ReasonOOMKilled, 1, ""},
		"killed":           {script("kill -9 $$", "retries=1", `retryOn=["137"]`), job.ReasonError, 2, ""},
		"cannot be run": {form{runtime: "binary", entrypoint: "run", files: map[string]string{"run": "#!/nowhere\n"},
			fields: []string{"retries=3", `retryOn=["Error","126","127"]`}}, job.ReasonCannotRun, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := s.submit(test.job)
			end := j.wait()
			must(t, end, job.Failed, test.reason)
			if len(end.Attempts) != test.attempts || test.log != "" && j.logs("tail=all") != test.log {
				t.Errorf("%d attempts, want %d; log %q", len(end.Attempts), test.attempts, j.logs("tail=all"))
			}
		})
	}
}

// TestRetryOnInterrupted kills the server while jobs run: one is to be run again then, the other not.
func TestRetryOnInterrupted(t *testing.T) {
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=2")
	const text = `read line; echo "attempt $JOB_ATTEMPT $line"; test "$JOB_ATTEMPT" = 2 || exec sleep 1000`
	again := s.submit(script(text, "retries=1", `retryOn=["Interrupted"]`, "stdin=first\nsecond\n"))
	not := s.submit(script(text, "retries=1", `retryOn=["1-255","OOMKilled"]`, "stdin=first\n"))
	again.running("attempt 1")
	not.running("attempt 1")
	s.kill()
	s.start()
	must(t, again.wait(), job.Succeeded, job.ReasonCompleted)
	if got := again.logs("tail=all"); got != "attempt 1 first\nattempt 2 first\n" {
		t.Errorf("log %q", got)
	}
	end := not.wait()
	must(t, end, job.Failed, job.ReasonInterrupted)
	if len(end.Attempts) != 1 {
		t.Errorf("%d attempts", len(end.Attempts))
	}
}

// TestRerunAndPlaces runs a job again while others wait, and asks for their places, also after the
// server has been killed.
func TestRerunAndPlaces(t *testing.T) {
	s := start(t, t.TempDir(), "MAX_CONCURRENT_JOBS=1")
	first := s.submit(script(`cat; echo "$*"`, "stdin=in\n", "name=First", "arg=x"))
	must(t, first.wait(), job.Succeeded, job.ReasonCompleted)
	blocker := s.submit(script("echo begun; exec sleep 1000"))
	blocker.running("begun")
	var waiting []*sent
	for n := range 3 {
		j := &sent{s: s}
		resp, data := first.call(http.MethodPost, first.path()+"/rerun")
		if err := json.Unmarshal(data, j); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("rerun %d: %s: %s", n, resp.Status, data)
		}
		waiting = append(waiting, j)
	}
	places := func(when string, list ...*sent) {
		t.Helper()
		for n, j := range list {
			s.until(fmt.Sprintf("%s: job %d has its place", when, n), func() bool {
				q := j.status().Queue
				return q != nil && q.Position == n+1 && q.Ahead != nil && *q.Ahead == n
			})
		}
	}
	places("at first", waiting...)
	if _, data := waiting[0].call(http.MethodPost, waiting[0].path()+"/cancel"); !bytes.Contains(data, []byte("Cancelled")) {
		t.Errorf("cancel: %s", data)
	}
	places("after a cancel", waiting[1:]...)
	if q := blocker.status().Queue; q != nil {
		t.Errorf("the running job waits: %+v", q)
	}
	s.kill()
	s.start()
	for _, j := range waiting[1:] {
		end := j.wait()
		must(t, end, job.Succeeded, job.ReasonCompleted)
		if end.RerunOf != job.ID(first.ID) || end.Name != "First" || end.Queue != nil {
			t.Errorf("got %+v", end)
		}
	}
	if a, b := waiting[1].status().StartedAt, waiting[2].status().StartedAt; a.After(*b) {
		t.Error("the younger job started first")
	}
	if _, data := first.call(http.MethodGet, "/api/v1/jobs?name=First"); bytes.Count(data, []byte(`"name":"First"`)) != 4 {
		t.Errorf("by name: %s", data)
	}
}
