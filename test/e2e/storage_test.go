//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The server of S3 in the cluster, and what opens it.
const (
	versitygw = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	bucketPod = "bucket"
	accessKey = "jobs"
	secretKey = "jobs-secret"
)

// TestBucket has everything on a bucket of S3, as docs/buckets.md says it: without the volume,
// credentials from a Secret, and then with signed URLs. In the end the volume is there again.
func TestBucket(t *testing.T) {
	s := installed(t)
	startBucket(t)
	t.Cleanup(func() {
		for _, args := range [][]string{{"make", "-C", "../..", "deploy"},
			{"kubectl", "delete", "secret", "bucket-credentials", "-n", namespace}} {
			if out, err := command(args[0], args[1:]...); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	})
	kube(t, "create", "secret", "generic", "bucket-credentials", "-n", namespace, "--from-literal=AWS_ACCESS_KEY_ID="+
		accessKey, "--from-literal=AWS_SECRET_ACCESS_KEY="+secretKey)
	deployOnBucket(t)
	if err := s.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kube(t, "get", "ksvc,cronjob", "-n", namespace, "-o", "yaml"); strings.Contains(got, "claimName") {
		t.Error("the volume is used still")
	}
	t.Run("many large outputs", func(t *testing.T) { manyLargeOutputs(t, s) })
	t.Run("away", func(t *testing.T) { bucketAway(t, s) })
	t.Run("signed", func(t *testing.T) { signed(t, s) })
}

// deployOnBucket installs a copy of config/ whose settings name the bucket.
func deployOnBucket(t *testing.T) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(config, os.DirFS(manifestsFolder)); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(config, "base", "310-settings.yaml")
	text, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	address := "s3://jobs?region=us-east-1&use_path_style=true&endpoint=" +
		url.QueryEscape("http://"+bucketPod+"."+namespace+".svc.cluster.local")
	const unset = `STORAGE_URL: ""`
	if strings.Count(string(text), unset) != 1 {
		t.Fatalf("the settings do not have %s", unset)
	}
	changed := strings.Replace(string(text), unset, "STORAGE_URL: "+address, 1)
	if err := os.WriteFile(settings, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "make", "-C", "../..", "deploy-bucket", "CONFIG="+config)
	cmd.Env = append(os.Environ(), "DRIVERS=s3")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make deploy-bucket: %v: %s", err, out)
	}
	kube(t, "wait", "-n", namespace, "--for=condition=Ready", "--timeout=5m", "ksvc", "--all")
}

// startBucket starts a server of S3 in the cluster, with the bucket jobs. It keeps files in the
// folder of a pod, and prints the calls it gets.
func startBucket(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", versitygw)
	install.Env, install.Dir = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0"), dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const program = `until test -e /srv/ready; do sleep 0.2; done
mkdir -p /srv/data/jobs; /srv/versitygw --port :8080 --access "$0" --secret "$1" posix /srv/data & echo $! > /srv/pid; wait`
	spec := restricted(map[string]any{
		"image": "debian:stable-slim", "command": []string{"sh", "-c", program, accessKey, secretKey},
		"volumeMounts": []any{map[string]any{"name": "srv", "mountPath": "/srv"}},
	})
	spec["volumes"] = []any{map[string]any{"name": "srv", "emptyDir": map[string]any{}}}
	serve(t, bucketPod, spec)
	kube(t, "cp", filepath.Join(dir, "versitygw"), namespace+"/"+bucketPod+":/srv/versitygw")
	kube(t, "exec", bucketPod, "-n", namespace, "--", "touch", "/srv/ready")
}

// manyLargeOutputs has many jobs store large outputs at the same time. If each upload took the
// memory it could use, the function would be ended for it.
func manyLargeOutputs(t *testing.T, s *service) {
	const count, size = 40, 24 << 20
	var jobs []*run
	for range count {
		// All at once: at the next full half minute.
		jobs = append(jobs, s.submit(t, shell(fmt.Sprintf("head -c %d /dev/urandom > results/data; sha256sum < "+
			"results/data; sleep $((30 - $(date +%%s) %% 30))", size))))
	}
	for _, j := range jobs {
		end := j.ends("Succeeded", "Completed")
		if len(end.Attempts) != 1 || end.Outputs == nil || end.Outputs.Bytes < size {
			t.Errorf("job %s: %+v", j.ID, end)
		}
	}
	for _, j := range jobs[:3] {
		data := j.get("/outputs/" + j.ID + "/data")
		sum := sha256.Sum256([]byte(data))
		if log := j.logs("tail=all"); !strings.HasPrefix(log, hex.EncodeToString(sum[:])) {
			t.Errorf("the output of %d bytes is not that of %q", len(data), log)
		}
	}
	const ended = `jsonpath={range .items[*]}{.metadata.name}{" "}{.status.containerStatuses[*].lastState.terminated.reason}{"\n"}{end}`
	revision := kube(t, "get", "ksvc", "artifacts", "-n", namespace, "-o", "jsonpath={.status.latestReadyRevisionName}")
	for line := range strings.Lines(kube(t, "get", "pods", "-n", namespace, "-l", "serving.knative.dev/revision="+
		revision, "-o", ended)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			t.Errorf("a pod of artifacts was ended: %s", line)
		}
	}
}

// bucketAway has the bucket not answer for a while: what runs or ends meanwhile is not lost, and
// what is submitted is refused.
func bucketAway(t *testing.T, s *service) {
	const away = 90 * time.Second // the functions say within a minute that it does not answer
	signal := func(name string) {
		if out, err := command("kubectl", "exec", bucketPod, "-n", namespace, "--", "sh", "-c", "kill -"+name+
			" $(cat /srv/pid)"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() { signal("CONT") })
	var jobs []*run
	for n := range 6 { // some end while it is away, some after
		jobs = append(jobs, s.submit(t, shell(fmt.Sprintf("echo begun; sleep %d; head -c 3000000 /dev/zero > "+
			"results/data; echo ended", 5+10*n))))
	}
	for _, j := range jobs {
		j.says("begun")
	}
	signal("STOP")
	back := time.AfterFunc(away, func() { signal("CONT") })
	defer back.Stop()
	resp, body := s.post(t, shell("true"))
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(resp.Header.Get("Content-Type"),
		"problem+json") {
		t.Errorf("a submit meanwhile: %s: %s", resp.Status, body)
	}
	until(t, patience, "the bucket is reached again", func() bool {
		resp, _ := jobs[0].call(http.MethodGet, "/api/v1/jobs/"+jobs[0].ID)
		return resp.StatusCode == http.StatusOK
	})
	for _, j := range jobs {
		end := j.ends("Succeeded", "Completed")
		if len(end.Attempts) != 1 || end.Outputs == nil || end.Outputs.Count != 3 ||
			end.Outputs.Bytes != 3000000+int64(len("begun\nended\n")) {
			t.Errorf("job %s: %+v", j.ID, end)
		}
		if got := j.logs("tail=all"); got != "begun\nended\n" {
			t.Errorf("job %s: log %q", j.ID, got)
		}
	}
}

// signed has outputs bypass the functions in both directions.
func signed(t *testing.T, s *service) {
	kube(t, "patch", "configmap", "job-orchestrator", "-n", namespace, "--type=merge", "-p",
		`{"data":{"SIGNED_URL_TTL":"15m"}}`)
	// The functions read the settings when they start.
	kube(t, "delete", "pod", "-n", namespace, "-l", "serving.knative.dev/service")
	if err := s.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	const size = 5 << 20
	j := s.submit(t, shell(fmt.Sprintf("head -c %d /dev/urandom > results/data; sha256sum < results/data", size)))
	j.ends("Succeeded", "Completed")
	resp, err := s.direct(j.request(http.MethodGet, "/outputs/"+j.ID+"/data"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	link := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusTemporaryRedirect || !strings.HasPrefix(link, "http://"+bucketPod+"."+namespace+
		".svc.cluster.local/jobs/") {
		t.Fatalf("the output is answered with %s to %q", resp.Status, link)
	}
	env, err := json.Marshal(map[string]string{"LINK": link})
	if err != nil {
		t.Fatal(err)
	}
	reader := s.submit(t, script("python", "read.py", `import hashlib, os, urllib.request
print(hashlib.sha256(urllib.request.urlopen(os.environ["LINK"]).read()).hexdigest())`, "env="+string(env)))
	reader.ends("Succeeded", "Completed")
	sum, got := strings.Fields(j.logs("tail=all")), strings.Fields(reader.logs("tail=all"))
	if len(sum) == 0 || len(got) != 1 || sum[0] != got[0] {
		t.Errorf("the program says %q, the URL leads to %q", sum, got)
	}
	address := kube(t, "get", "pods", "-n", namespace, "-l", "batch.kubernetes.io/job-name="+j.Name, "-o",
		"jsonpath={.items[*].status.podIP}")
	for line := range strings.Lines(kube(t, "logs", bucketPod, "-n", namespace)) {
		if strings.Contains(line, "| "+address+" | PUT | /jobs/"+j.ID+"/results/data ") {
			return
		}
	}
	t.Errorf("the bucket has not got the output from %s, the pod of the job", address)
}
