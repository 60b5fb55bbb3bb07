//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"go-job-orchestrator/shared/dependencies/indextest"
)

// The images that have the installers; .ci/run makes them.
const (
	imageWithPip = "python:3.13"
	imageWithNpm = "node:22"
)

// indexProgram serves files by their paths to who knows the password, and says what it was asked.
const indexProgram = `import base64,http.server,json,sys
files=json.loads(sys.argv[1])
password="Basic "+base64.b64encode(b"robot:index-password").decode()
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked", self.path, flush=True)
        if self.path == "/ready": status, body = 200, b""
        elif self.headers.get("Authorization") != password: status, body = 401, b""
        elif self.path in files: status, body = 200, base64.b64decode(files[self.path])
        else: status, body = 404, b"{}"
        self.send_response(status)
        kind = "text/html" if "/simple/" in self.path else "application/json"
        if "/-/" in self.path or "/files/" in self.path: kind = "application/octet-stream"
        self.send_header("Content-Type", kind); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    do_HEAD = do_GET
http.server.ThreadingHTTPServer(("", 8080), H).serve_forever()`

// TestPackages has programs in pods use packages of an index that wants a password. The second run
// finds them in the cache.
func TestPackages(t *testing.T) {
	t.Parallel()
	s := installed(t)
	wheel := indextest.Wheel{Name: "small", Version: "1.0", Files: map[string]string{"small.py": "value = 42\n"}}
	tarball := indextest.Package{Name: "small", Version: "1.0.0",
		Files: map[string]string{"index.js": "module.exports = 42\n"}}
	const host = "packages"
	manifest, err := json.Marshal(map[string]any{"name": "small", "dist-tags": map[string]string{"latest": "1.0.0"},
		"versions": map[string]any{"1.0.0": map[string]any{"name": "small", "version": "1.0.0", "dist": map[string]any{
			"tarball": "http://" + host + tarball.Tarball(), "integrity": tarball.Integrity()}}}})
	if err != nil {
		t.Fatal(err)
	}
	page := `<a href="/files/` + wheel.File() + `#sha256=` + wheel.SHA256() + `">` + wheel.File() + `</a>`
	files := map[string]string{}
	for path, content := range map[string][]byte{
		"/simple/small/":         []byte(page),
		"/files/" + wheel.File(): wheel.Bytes(),
		"/npm/small":             manifest,
		tarball.Tarball():        tarball.Bytes(),
	} {
		files[path] = base64.StdEncoding.EncodeToString(content)
	}
	list, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, host, restricted(map[string]any{"image": "python:3.13-slim",
		"command":        []string{"python3", "-c", indexProgram, string(list)},
		"readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/ready", "port": 8080}}}))
	useIndex(t, "http://robot:index-password@"+host)
	asked := func() int {
		return strings.Count(kube(t, "logs", host, "-n", namespace), "small")
	}
	python := func() form {
		f := script("python", "main.py", "import small, sys\nprint(small.value, sys.prefix)\n", "image="+imageWithPip)
		f.files["requirements.txt"] = strings.NewReader("small==1.0\n")
		return f
	}
	node := func() form {
		f := script("node", "main.js", "console.log(require('small'))\n", "image="+imageWithNpm)
		f.files["package.json"] = strings.NewReader(`{"dependencies":{"small":"1.0.0"}}`)
		return f
	}
	for name, one := range map[string]struct {
		form func() form
		want string
	}{"python": {python, "42 /workspace/files/.venv\n"}, "node": {node, "42\n"}} {
		before := 0
		for _, run := range []string{"first", "second"} {
			j := s.submit(t, one.form())
			j.ends("Succeeded", "Completed")
			if got := j.logs("tail=all"); got != one.want {
				t.Errorf("%s, %s: log %q", name, run, got)
			}
			log := j.get("/outputs/" + j.ID + "/prepare.log")
			if strings.Contains(log, "index-password") {
				t.Errorf("%s, %s: prepare.log tells the password: %s", name, run, log)
			}
			if run == "second" && (asked() != before || !strings.Contains(log, "in the cache")) {
				t.Errorf("%s: the second run asked the index: %s", name, log)
			}
			before = asked()
		}
	}
	f := python()
	f.files["requirements.txt"] = strings.NewReader("nowhere==1\n")
	j := s.submit(t, f)
	if got := j.ends("Failed", "DependenciesFailed"); !strings.Contains(got.Message, "nowhere") {
		t.Errorf("message %q", got.Message)
	}
	// No pod of a job has the password, nor has its Secret.
	all := kube(t, "get", "pods,jobs", "-n", namespace, "-l", "app.kubernetes.io/component=job", "-o", "yaml")
	if strings.Contains(all, "index-password") {
		t.Error("pods and Jobs tell the password")
	}
}

// useIndex has artifacts use an index, until the test ends.
func useIndex(t *testing.T, at string) {
	t.Helper()
	restart := func() error {
		_, err := command("kubectl", "delete", "pods", "-n", namespace, "-l", "serving.knative.dev/service=artifacts",
			"--wait=false")
		return err
	}
	kube(t, "create", "secret", "generic", "package-indexes", "-n", namespace,
		"--from-literal=PIP_INDEX_URL="+at+"/simple", "--from-literal=NPM_CONFIG_REGISTRY="+at+"/npm/")
	t.Cleanup(func() {
		_, _ = command("kubectl", "delete", "secret", "package-indexes", "-n", namespace, "--ignore-not-found")
		_ = restart()
	})
	if err := restart(); err != nil {
		t.Fatal(err)
	}
}
