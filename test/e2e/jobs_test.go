//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSession is the README's.
func TestSession(t *testing.T) {
	s := installed(t)
	j := s.submit(t, script("python", "words.py", `import os, sys, time
for n, word in enumerate(sys.argv[1:], 1):
    print(n, word)
    time.sleep(1)
with open(os.environ["OUTPUT_DIR"] + "/count.txt", "w") as f:
    f.write(f"{n} words\n")
`, `args=["alpha","beta"]`, "arg=$(HOME)", "memory=256Mi", "timeoutSeconds=120", "labels={\"test\":\"session\"}"))
	j.status() // so that status is started when the first line comes
	resp, err := s.client.Do(j.request(http.MethodGet, "/api/v1/jobs/"+j.ID+"/logs?follow=true"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "1 alpha" {
		t.Fatalf("first line %q, %v", lines.Text(), lines.Err())
	}
	if st := j.status(); st.Phase != "Running" {
		t.Errorf("while the first line is read the job is %s", st.Phase)
	}
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if got := strings.Join(rest, ","); got != "2 beta,3 $(HOME)" || lines.Err() != nil {
		t.Errorf("then %q, %v", got, lines.Err())
	}
	if phase := resp.Trailer.Get("Job-Phase"); phase != "Succeeded" {
		t.Errorf("the trailer says %q", phase)
	}
	end := j.ends("Succeeded", "Completed")
	if end.ExitCode == nil || *end.ExitCode != 0 || end.Outputs == nil || end.Outputs.Count != 3 ||
		len(end.Attempts) != 1 {
		t.Errorf("got %+v", end)
	}
	if got := j.get("/outputs/" + j.ID + "/count.txt"); got != "3 words\n" {
		t.Errorf("output %q", got)
	}
	if got := j.get("/api/v1/jobs?label=test%3Dsession&limit=1"); !strings.Contains(got, j.ID) ||
		strings.Contains(got, j.Token) {
		t.Errorf("list %s", got)
	}
	if got := kube(t, "logs", "-n", namespace, "job/"+j.Name); got != "1 alpha\n2 beta\n3 $(HOME)" {
		t.Errorf("kubectl logs %q", got)
	}
	// Logs and outputs stay when Job and pod are gone.
	kube(t, "delete", "job", j.Name, "-n", namespace)
	if got := j.logs("tail=1"); got != "3 $(HOME)\n" {
		t.Errorf("log without a pod %q", got)
	}
	if got := j.status(); got.Phase != "Succeeded" {
		t.Errorf("without a pod the job is %+v", got)
	}
	other := s.submit(t, shell("exit 0"))
	holder := *j // of the token of j, and of no key
	holder.service = &service{url: s.url, client: s.client, key: j.Token}
	if own, _ := holder.call(http.MethodGet, "/api/v1/jobs/"+j.ID); own.StatusCode != http.StatusOK {
		t.Errorf("the job's token gives %s", own.Status)
	}
	if refused, _ := holder.call(http.MethodGet, "/api/v1/jobs/"+other.ID); refused.StatusCode != http.StatusForbidden {
		t.Errorf("another job's token gives %s", refused.Status)
	}
}

func TestRuntimes(t *testing.T) {
	t.Parallel()
	s := installed(t)
	for name, f := range map[string]form{
		"python": script("python", "main.py", "import sys; print('hello', sys.argv[1]); open('results/a','w').write('x')",
			"arg=$(PATH) *"),
		"node": script("node", "main.js",
			"console.log('hello', process.argv[2]); require('fs').writeFileSync('results/a','x')", "arg=$(PATH) *"),
		"java": script("java", "Main.java", `public class Main { public static void main(String[] a) throws Exception {
			System.out.println("hello " + a[0]); java.nio.file.Files.writeString(java.nio.file.Path.of("results/a"), "x"); } }`,
			"arg=$(PATH) *"),
		"binary": shell(`echo "hello $1"; printf x >results/a`, "arg=$(PATH) *"),
	} {
		t.Run(name, func(t *testing.T) {
			j := s.submit(t, f)
			j.ends("Succeeded", "Completed")
			if got := j.logs("tail=all"); got != "hello $(PATH) *\n" {
				t.Errorf("log %q", got)
			}
			if got := j.get("/outputs/" + j.ID + "/a"); got != "x" {
				t.Errorf("output %q", got)
			}
		})
	}
}

// TestPod looks at what a program finds around it.
func TestPod(t *testing.T) {
	j := installed(t).submit(t,
		shell(
			`id -u; touch /x 2>&1 && echo "root is writable"; ls /var/run/secrets 2>/dev/null; env | grep -E 'TOKEN|KUBERNETES'
echo "$A"; touch /tmp/x && echo tmp; grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; exit 7`,
			`env={"A":"$(HOME) $$x"}`))
	end := j.ends("Failed", "Error")
	if end.ExitCode == nil || *end.ExitCode != 7 {
		t.Errorf("exit code %v", end.ExitCode)
	}
	got := j.logs("tail=all&stream=stdout")
	for _, want := range []string{"65532\n", "$(HOME) $$x\n", "tmp\n", "NoNewPrivs:\t1", "Seccomp:\t2",
		"CapEff:\t0000000000000000"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q: %s", want, got)
		}
	}
	for _, bad := range []string{"writable", "TOKEN", "KUBERNETES", "serviceaccount"} {
		if strings.Contains(got, bad) {
			t.Errorf("has %q: %s", bad, got)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	s := installed(t)
	t.Run("ImagePullBackOff", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, shell("true", "image=nowhere/nothing:1"))
		if got := j.shows("ImagePullBackOff"); got.Phase != "Pending" || !strings.Contains(got.Message, "nowhere/nothing:1") {
			t.Errorf("while it waits: %+v", got)
		}
		end := j.ends("Failed", "ImagePullBackOff")
		if !strings.Contains(end.Message, "START_TIMEOUT") || len(end.Attempts) != 0 {
			t.Errorf("got %+v", end)
		}
		until(t, time.Minute, "its Job is gone", func() bool {
			_, err := command("kubectl", "get", "job", j.Name, "-n", namespace)
			return err != nil
		})
	})
	t.Run("Unschedulable", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, shell("true", "cpu=900"))
		if got := j.shows("Unschedulable"); got.Phase != "Pending" || !strings.Contains(got.Message, "nodes are available") {
			t.Errorf("got %+v", got)
		}
		if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode != http.StatusOK {
			t.Errorf("cancel: %s %s", resp.Status, body)
		}
		j.ends("Cancelled", "Cancelled")
	})
	t.Run("OOMKilled", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, script("python", "main.py", "print('before', flush=True)\nx = bytearray(400 << 20)\nprint(len(x))",
			"memory=96Mi"))
		if end := j.ends("Failed", "OOMKilled"); end.ExitCode == nil || *end.ExitCode != 137 {
			t.Errorf("got %+v", end)
		}
		if got := j.logs("tail=all"); got != "before\n" {
			t.Errorf("log %q", got)
		}
	})
	t.Run("DeadlineExceeded", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, shell("echo begun; echo x >results/x; sleep 1000", "timeoutSeconds=20"))
		end := j.ends("Failed", "DeadlineExceeded")
		if end.Outputs == nil || end.Outputs.Count != 3 {
			t.Errorf("got %+v", end)
		}
		if got := j.logs("tail=all"); !strings.HasPrefix(got, "begun\n") {
			t.Errorf("log %q", got)
		}
	})
	t.Run("ContainerCannotRun", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, script("node", "main.js", "", "image=debian:stable-slim"))
		if end := j.ends("Failed", "ContainerCannotRun"); !strings.Contains(end.Message, "node") {
			t.Errorf("got %+v", end)
		}
	})
	t.Run("retries", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, shell("echo once; exit 3", "retries=1"))
		if end := j.ends("Failed", "Error"); len(end.Attempts) != 2 {
			t.Errorf("got %+v", end)
		}
		if got := j.logs("tail=all"); got != "once\nonce\n" {
			t.Errorf("log %q", got)
		}
	})
	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, shell("echo begun; echo x >results/x; exec sleep 1000"))
		j.says("begun")
		kube(t, "delete", "pod", "-n", namespace, "--wait=false", j.pods()[0])
		end := j.ends("Failed", "Interrupted")
		if end.Outputs == nil || end.Outputs.Count != 3 {
			t.Errorf("got %+v", end)
		}
		if got := j.logs("tail=all"); got != "begun\n" {
			t.Errorf("log %q", got)
		}
	})
	t.Run("Job deleted", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, shell("echo begun; exec sleep 1000", "retries=3"))
		j.says("begun")
		kube(t, "delete", "job", "-n", namespace, "--wait=false", j.Name)
		j.ends("Failed", "Interrupted")
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := installed(t)
	t.Run("running", func(t *testing.T) {
		j := s.submit(t, shell("trap 'echo asked; exit 1' TERM; echo begun; while :; do sleep 0.1; done", "retries=2"))
		j.says("begun")
		if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode != http.StatusOK &&
			resp.StatusCode != http.StatusAccepted {
			t.Fatalf("cancel: %s %s", resp.Status, body)
		}
		if end := j.ends("Cancelled", "Cancelled"); end.Outputs == nil || len(end.Attempts) != 1 {
			t.Errorf("got %+v", end)
		}
		if got := j.logs("tail=all"); !strings.Contains(got, "asked\n") {
			t.Errorf("log %q", got)
		}
		until(t, patience, "its pods are gone", func() bool { return len(j.pods()) == 0 })
		if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode != http.StatusOK {
			t.Errorf("again: %s %s", resp.Status, body)
		}
	})
	t.Run("pulling", func(t *testing.T) {
		j := s.submit(t, shell("true", "image=nowhere/nothing:2"))
		j.shows("ImagePullBackOff")
		if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode != http.StatusOK {
			t.Fatalf("cancel: %s %s", resp.Status, body)
		}
		j.ends("Cancelled", "Cancelled")
	})
	t.Run("after the end", func(t *testing.T) {
		j := s.submit(t, shell("true"))
		j.ends("Succeeded", "Completed")
		if resp, _ := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode != http.StatusConflict {
			t.Errorf("got %s", resp.Status)
		}
	})
	t.Run("delete while running", func(t *testing.T) {
		j := s.submit(t, shell("echo begun; trap '' TERM; while :; do sleep 1; done"))
		j.says("begun")
		if resp, body := j.call(http.MethodDelete, "/api/v1/jobs/"+j.ID); resp.StatusCode != http.StatusNoContent &&
			resp.StatusCode != http.StatusAccepted {
			t.Fatalf("delete: %s %s", resp.Status, body)
		}
		if resp, _ := j.call(http.MethodGet, "/api/v1/jobs/"+j.ID); resp.StatusCode != http.StatusNotFound {
			t.Errorf("still there: %s", resp.Status)
		}
		until(t, patience, "its pods are gone", func() bool { return len(j.pods()) == 0 })
	})
}

// random is so many bytes that cannot be compressed, and their SHA-256.
func random(size int64) (io.Reader, func() string) {
	hash := sha256.New()
	r := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), hash)
	return r, func() string { return hex.EncodeToString(hash.Sum(nil)) }
}

// TestBig sends 200 MiB in and gets 200 MiB out.
func TestBig(t *testing.T) {
	const size = 200 << 20
	data, sum := random(size)
	f := shell("sha256sum data; cp data results/copy")
	f.files["data"] = data
	j := installed(t).submit(t, f)
	end := j.ends("Succeeded", "Completed")
	if end.Outputs == nil || end.Outputs.Bytes < size {
		t.Errorf("got %+v", end.Outputs)
	}
	if got := j.logs("tail=all"); !strings.HasPrefix(got, sum()) {
		t.Errorf("the program saw %s, sent was %s", got, sum())
	}
	resp, err := j.client.Do(j.request(http.MethodGet, "/outputs/"+j.ID+"/copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	hash := sha256.New()
	if n, err := io.Copy(hash, resp.Body); err != nil || n != size || hex.EncodeToString(hash.Sum(nil)) != sum() {
		t.Errorf("%d bytes came back, %v", n, err)
	}
}

// TestErrors makes sure that the front passes on what functions say, and keeps what is not for
// users to itself.
func TestErrors(t *testing.T) {
	s := installed(t)
	resp, body := s.post(t, script("cobol", "x", "", "memory=lots"))
	var problem struct {
		Errors []struct{ Field string } `json:"errors"`
	}
	if err := json.Unmarshal(body, &problem); err != nil || resp.StatusCode != http.StatusUnprocessableEntity ||
		len(problem.Errors) < 2 {
		t.Errorf("%s: %s", resp.Status, body)
	}
	for path, want := range map[string]int{"/": 404, "/healthz": 200, "/openapi.yaml": 200, "/dead-letter": 404,
		"/api/v1/jobs": 401, "/api/v1/jobs/x": 401, "/api/v1/server": 200, "/metrics": 401, "/metrics/": 404} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, body := s.do(t, req); resp.StatusCode != want {
			t.Errorf("GET %s: %s, want %d: %.200s", path, resp.Status, want, body)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/", bytes.NewReader([]byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.do(t, req); resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %s", resp.Status)
	}
}
