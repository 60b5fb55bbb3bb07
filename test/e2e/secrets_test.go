//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// showSecrets prints its secrets, leaves a hash of each, and looks for them in the files that it can
// read and in the processes that it sees. It ends when it is told to, by the attempt.
const showSecrets = `import glob, hashlib, os, sys, time
values = {n: os.environ[n] for n in ("OWN", "NAMED", "ONLY")}
for name, value in values.items():
    print(name, "is", value)
    open(os.environ["OUTPUT_DIR"] + "/" + name, "w").write(hashlib.sha256(value.encode()).hexdigest())
def look(path):
    try:
        if any(v.encode() in open(path, "rb").read(1 << 20) for v in values.values()):
            print("FOUND in", path)
    except OSError:
        pass
for top in ("/workspace", "/orchestrator", "/orchestrator-secrets", "/tmp", "/dev/shm", "/run", "/var/run"):
    for root, _, files in os.walk(top):
        for f in files:
            look(os.path.join(root, f))
for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
    if f"/{os.getpid()}/" not in path:
        look(path)
print("looked", flush=True)
if os.environ["JOB_ATTEMPT"] == "1":
    sys.exit(3)
while not os.path.exists("/tmp/go"):
    time.sleep(0.1)
`

// findIn looks for texts in all files of the storage, from a pod.
const findIn = `import os, sys
n = 0
for root, _, files in os.walk("/data"):
    for f in files:
        path = os.path.join(root, f)
        try:
            data = open(path, "rb").read()
        except OSError:
            continue
        n += 1
        for text in sys.argv[1:]: # in hexadecimal digits, so that they are not found in this pod
            if bytes.fromhex(text) in data:
                print("FOUND in", path)
print("looked into", n)
`

// TestSecrets gives a program secrets of its user's and of the operator's, in each of two attempts,
// and looks for the values in the storage, in all objects of the namespace, in the logs of all pods
// and in all answers: there is none, but for the operator's in their own Secret.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := installed(t)
	stamp := fmt.Sprint(time.Now().UnixNano())
	own, named, only := "own-value-"+stamp, "named-value-"+stamp, "only-value-"+stamp
	db, api, unlabelled := "e2e-db-"+stamp, "e2e-api-"+stamp, "e2e-other-"+stamp
	for name, values := range map[string][]string{
		db: {"password=" + named, "user=app"}, api: {"token=" + only}, unlabelled: {"x=" + named},
	} {
		args := []string{"create", "secret", "generic", name, "-n", namespace}
		for _, value := range values {
			args = append(args, "--from-literal="+value)
		}
		kube(t, args...)
		t.Cleanup(func() { _, _ = command("kubectl", "delete", "secret", name, "-n", namespace) })
	}
	kube(t, "label", "secret", db, api, "-n", namespace, "go-job-orchestrator.github.io/secret=true")
	until(t, patience, "the names are published", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/server", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.authorize(req)
		_, body := s.do(t, req)
		return strings.Contains(string(body), db) && strings.Contains(string(body), api)
	})
	resp, body := s.post(t, script("python", "a.py", showSecrets, "secret.X=@"+unlabelled))
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(body), "secret.X") {
		t.Errorf("a Secret without the label: %s: %s", resp.Status, body)
	}

	j := s.submit(t, script("python", "a.py", showSecrets, "retries=1", "secret.OWN="+own, "secret.NAMED=@"+db+"/password",
		"secret.ONLY=@"+api))
	until(t, patience, "the second attempt has looked",
		func() bool { return strings.Count(j.logs("tail=all"), "looked") == 2 })
	look := func(where, text string, values ...string) {
		t.Helper()
		for _, v := range values {
			if strings.Contains(text, v) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(v))) {
				t.Errorf("%s has %q", where, v)
			}
		}
	}
	everywhere := func() {
		t.Helper()
		for _, kind := range strings.Fields("pods jobs.batch configmaps events ksvc revisions deployments replicasets " +
			"triggers.eventing.knative.dev persistentvolumeclaims serviceaccounts") {
			look(kind, kube(t, "get", kind, "-n", namespace, "-o", "yaml"), own, named, only)
		}
		look("secrets", kube(t, "get", "secrets", "-n", namespace, "-o", "yaml"), own)
		until(t, time.Minute, "a description of all pods", func() bool { // one may be removed meanwhile
			text, err := command("kubectl", "describe", "pods,jobs", "-n", namespace)
			look("a description of the pods", text, own, named, only)
			return err == nil
		})
		for _, pod := range strings.Fields(kube(t, "get", "pods", "-n", namespace, "-o", "jsonpath={.items[*].metadata.name}")) {
			out, err := command("kubectl", "logs", pod, "-n", namespace, "--all-containers")
			if err == nil { // else it is just being made or removed
				look("the log of "+pod, out, own, named, only)
			}
		}
		for _, path := range []string{"/api/v1/jobs/" + j.ID, "/api/v1/jobs", "/artifacts/" + j.ID + "/index.json",
			"/api/v1/jobs/" + j.ID + "/logs?tail=all"} {
			look(path, j.get(path), own, named, only)
		}
		look("the storage", inStorage(t, own, named, only), "FOUND")
	}
	everywhere()
	pods := j.pods()
	kube(t, "exec", pods[len(pods)-1], "-n", namespace, "-c", "program", "--", "python3", "-c",
		"open('/tmp/go', 'w')")
	j.ends("Succeeded", "Completed")
	log := j.logs("tail=all")
	if strings.Contains(log, "FOUND") || strings.Count(log, "OWN is ***\n") != 2 || strings.Count(log, "NAMED is ***\n") != 2 {
		t.Errorf("the log:\n%s", log)
	}
	for name, value := range map[string]string{"OWN": own, "NAMED": named, "ONLY": only} {
		sum := sha256.Sum256([]byte(value))
		if got := j.get("/outputs/" + j.ID + "/" + name); got != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: the program got another value", name)
		}
	}
	everywhere()
}

// inStorage looks for texts in the volume that everything is stored in.
func inStorage(t *testing.T, texts ...string) string {
	t.Helper()
	name := fmt.Sprintf("look-%d", time.Now().UnixNano())
	program := []string{"python3", "-c", findIn}
	for _, text := range texts {
		program = append(program, hex.EncodeToString([]byte(text)))
	}
	spec := restricted(map[string]any{
		"image": "python:3.13-slim", "command": program,
		"volumeMounts": []any{map[string]any{"name": "data", "mountPath": "/data", "readOnly": true}},
	})
	spec["restartPolicy"] = "Never"
	spec["volumes"] = []any{map[string]any{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "data"}}}
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": namespace}, "spec": spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := kubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	defer func() { _, _ = command("kubectl", "delete", "pod", name, "-n", namespace, "--wait=false") }()
	phase := ""
	until(t, patience, "the storage is searched", func() bool {
		phase = kube(t, "get", "pod", name, "-n", namespace, "-o", "jsonpath={.status.phase}")
		return phase == "Succeeded" || phase == "Failed"
	})
	out := kube(t, "logs", name, "-n", namespace)
	if phase == "Failed" || !strings.Contains(out, "looked into ") || strings.Contains(out, "looked into 0") {
		t.Fatalf("the storage was not searched: %s", out)
	}
	return out
}
