package local

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// commands builds every command and returns their folder.
var commands = sync.OnceValues(func() (string, error) {
	path, err := command()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	build := exec.Command("go", "build", "-race", "-tags", "grpcnotrace,disable_grpc_modules", "-o", dir,
		"go-job-orchestrator/functions/cmd/...", "go-job-orchestrator/test/local/runner")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := build.CombinedOutput()
	if err != nil {
		err = &exec.Error{Name: string(out), Err: err}
	}
	return dir, err
})

// TestSeparate runs each function as a process of its own, wired by events over HTTP.
func TestSeparate(t *testing.T) {
	t.Parallel()
	dir, err := commands()
	if err != nil {
		t.Fatal(err)
	}
	storage := t.TempDir()
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), token.MinKeyBytes))
	urls := map[string]string{}
	serve := func(name string, vars ...string) {
		port := freePort(t)
		cmd := exec.Command(filepath.Join(dir, name))
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "PORT=" + port, "STORAGE_DIR=" + storage, "TOKEN_KEYS=" + key,
			"K_SINK=" + urls["runner"]}, vars...)
		output := &lines{}
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s: %s", name, output)
			}
		})
		urls[name] = "http://127.0.0.1:" + port
		until(t, name+" answers", func() bool {
			resp, err := http.Get(urls[name] + "/healthz")
			if err == nil {
				resp.Body.Close()
			}
			return err == nil
		})
	}
	for _, name := range []string{"runner", "submit", "status", "logs", "outputs", "artifacts", "cancel"} {
		serve(name)
	}
	callers := filepath.Join(t.TempDir(), "keys.json")
	caller := writeKeys(t, callers, access.FirstKey())[0]
	serve("front", "KEYS_FILE="+callers, "KEYS_URL=http://127.0.0.1:1", "SUBMIT_URL="+urls["submit"],
		"STATUS_URL="+urls["status"], "LOGS_URL="+urls["logs"], "ARTIFACTS_URL="+urls["artifacts"],
		"OUTPUTS_URL="+urls["outputs"], "CANCEL_URL="+urls["cancel"])
	at := func(name string) *server { return &server{t: t, dir: storage, url: urls[name], key: caller} }
	if resp, data, err := at("submit").post(script("true\n")); err != nil || resp.StatusCode != 401 {
		t.Errorf("a submit that goes round front: %v %s %s", err, resp.Status, data)
	}
	j := at("front").submit(script("echo hello; echo x > results/x\n", "ttlSecondsAfterFinished=0"))
	long := at("front").submit(script("echo begun; exec sleep 1000\n"))

	j.s = at("status")
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	j.s = at("logs")
	if got := j.logs("tail=all"); got != "hello\n" {
		t.Errorf("log = %q", got)
	}
	j.s = at("outputs")
	if got := j.output("x"); got != "x\n" {
		t.Errorf("output = %q", got)
	}
	j.s = at("artifacts")
	if resp, data := j.call("GET", "/artifacts/"+j.ID+"/run"); resp.StatusCode != 200 ||
		!bytes.HasPrefix(data, []byte("#!/bin/sh")) {
		t.Errorf("artifact: %s %s", resp.Status, data)
	}
	long.s = at("logs")
	long.running("begun")
	long.s = at("cancel")
	if resp, data := long.call("POST", long.path()+"/cancel"); resp.StatusCode != 200 {
		t.Errorf("cancel: %s %s", resp.Status, data)
	}
	if out, code := run(t, filepath.Join(dir, "reap"), "STORAGE_DIR="+storage, "K_SINK="+urls["runner"]); code != 0 {
		t.Errorf("reap ended with %d: %s", code, out)
	}
	j.s = at("status")
	if !j.gone() {
		t.Error("the expired job is still there")
	}
	if out, code := run(t, filepath.Join(dir, "status"), "STORAGE_DIR="+storage, "PORT="+freePort(t)); code == 0 ||
		!strings.Contains(out, "TOKEN_KEYS") {
		t.Errorf("without keys status ended with %d: %s", code, out)
	}
}
