//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

// baseVariable is an image of Debian that stands in for those that the Dockerfile names, where no
// public registry can be reached. Go is this machine's own then.
const baseVariable = "E2E_BASE_IMAGE"

const dockerVersion = "v0.0.0-e2e"

// podman runs the command of that name, which takes what docker takes, and returns what it prints.
// Its complaints are told when it fails.
func podman(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("podman", args...) // not with t.Context(): cleaning up needs it as well
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("podman %s: %v: %s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// buildImage builds the Dockerfile and returns the image's ID.
func buildImage(t *testing.T) string {
	t.Helper()
	args := []string{
		"build", "--quiet", "--format", "docker", "--isolation", "chroot", "--tls-verify=false",
		"--build-arg", "VERSION=" + dockerVersion,
	}
	if base := os.Getenv(baseVariable); base != "" {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		text := "FROM " + base +
			"\nENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go " +
			"GOCACHE=/go/cache\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		golang := podman(t, "build", "--quiet", "--isolation", "chroot", "--tls-verify=false", "-f", file, filepath.Dir(file))
		args = append(args, "--build-arg", "GO_IMAGE="+golang, "--build-arg", "BASE_IMAGE="+base)
		for variable, path := range map[string]string{
			"GOROOT": "/usr/local/go:ro", "GOMODCACHE": "/go/pkg/mod:ro", "GOCACHE": "/go/cache",
		} {
			here, err := command("go", "env", variable)
			if err != nil {
				t.Fatalf("go env %s: %v: %s", variable, err, here)
			}
			args = append(args, "-v", strings.TrimSpace(here)+":"+path)
		}
	}
	return podman(t, append(args, ".")...)
}

// composed is the service of compose.yaml.
type composed struct {
	Ports       []string          `json:"ports"`
	Environment map[string]string `json:"environment"`
	Volumes     []string          `json:"volumes"`
}

// compose reads compose.yaml.
func compose(t *testing.T) composed {
	t.Helper()
	text, err := os.ReadFile("../../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services struct {
			Orchestrator composed `json:"job-orchestrator"`
		} `json:"services"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Services.Orchestrator
}

// start runs the image as compose.yaml says, at another port and with its storage in data. It
// returns when it answers.
func (c composed) start(t *testing.T, image, data string, flags ...string) (*service, string) {
	t.Helper()
	if len(c.Ports) != 1 || len(c.Volumes) != 1 {
		t.Fatalf("compose.yaml: got %+v", c)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens with TCP
	ln.Close()
	args := []string{
		"run", "--detach", "--stop-timeout", "60", "-p", strings.Replace(c.Ports[0], ":8080:", fmt.Sprintf(":%d:", port), 1),
		"-v", strings.Replace(c.Volumes[0], "./data", data, 1),
		"--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096", // podman's own are more than any machine allows
	}
	for name, value := range c.Environment {
		args = append(args, "-e", name+"="+value)
	}
	id := podman(t, append(append(args, flags...), image)...)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := command("podman", "logs", id)
			t.Logf("%s: %s", id, out)
		}
		podman(t, "rm", "--force", "--ignore", id)
	})
	s := &service{url: fmt.Sprintf("http://localhost:%d", port), client: &http.Client{}}
	until(t, time.Minute, "the container answers", func() bool {
		resp, err := s.client.Get(s.url + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	log, err := command("podman", "logs", id)
	if err != nil {
		t.Fatalf("podman logs: %v: %s", err, log)
	}
	s.key = shownKey.FindString(log) // at the first start with this storage
	return s, id
}

// sandboxLevel is what the container's log says of the sandbox.
func sandboxLevel(t *testing.T, id string) string {
	t.Helper()
	log, err := command("podman", "logs", id)
	found := regexp.MustCompile(`sandbox: ([^,]+), limits`).FindStringSubmatch(log)
	if err != nil || found == nil {
		t.Fatalf("the log says nothing of the sandbox: %v: %s", err, log)
	}
	return found[1]
}

// landlockVersion is that of the kernel; 0: it has none. From 6 on it holds signals back, without
// which there is no level landlock.
func landlockVersion() int {
	const onlyVersion = 1
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, onlyVersion)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// TestDocker builds the image, runs jobs of all its runtimes, and starts another container with the
// same storage.
func TestDocker(t *testing.T) {
	t.Parallel()
	image, data := buildImage(t), t.TempDir()
	t.Cleanup(func() { // the container's user has made what is there
		podman(t, "run", "--rm", "--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096", "-v", data+":/data",
			"--entrypoint", "find", image, "/data", "-mindepth", "1", "-delete")
	})
	c := compose(t)
	first, id := c.start(t, image, data)

	want := "NONE: programs can do what this server can"
	if landlockVersion() >= 6 {
		want = fmt.Sprintf("landlock(%d)+seccomp", landlockVersion())
	}
	if got := sandboxLevel(t, id); got != want {
		t.Errorf("in a container with the usual rights the sandbox is %q, want %q", got, want)
	}
	if user := podman(t, "exec", id, "stat", "-c", "%U", "/proc/1", "/data"); user != "orchestrator\norchestrator" {
		t.Errorf("the server and its storage belong to %q, want orchestrator", user)
	}
	podman(t, "healthcheck", "run", id)

	programs := map[string]form{
		"python": script("python", "main.py", `import os
print("from python")
open(os.environ["OUTPUT_DIR"] + "/left", "w").write("python")
`),
		"node": script("node", "main.js", `console.log("from node")
require("fs").writeFileSync(process.env.OUTPUT_DIR + "/left", "node")
`),
		"java": script("java", "Main.java", `public class Main { public static void main(String[] a) throws Exception {
			System.out.println("from java");
			java.nio.file.Files.writeString(java.nio.file.Path.of(System.getenv("OUTPUT_DIR"), "left"), "java"); } }`),
	}
	jobs := map[string]run{} // what is left of them when the first server is gone
	for name, program := range programs {
		j := &run{t: t, service: first}
		resp, body := first.post(t, program)
		if err := json.Unmarshal(body, j); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s: %s", name, resp.Status, body)
		}
		jobs[name] = *j
	}
	look := func(at *service) {
		t.Helper()
		for name, j := range jobs {
			j.service = at
			j.ends("Succeeded", "Completed")
			if got := j.logs("tail=all"); got != "from "+name+"\n" {
				t.Errorf("%s: log %q", name, got)
			}
			if got := j.get("/outputs/" + j.ID + "/left"); got != name {
				t.Errorf("%s: output %q", name, got)
			}
		}
	}
	look(first)
	podman(t, "stop", id)
	if code := podman(t, "inspect", "--format", "{{.State.ExitCode}}", id); code != "0" {
		t.Errorf("stopped, the container ended with %s", code)
	}

	second, id := c.start(t, image, data, "--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL")
	if second.key != "" {
		t.Error("the second start shows a key again")
	}
	second.key = first.key
	look(second)
	restricted, _ := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
	if got := sandboxLevel(t, id); !strings.HasPrefix(got, "user namespaces+") && string(restricted) != "1\n" {
		t.Errorf("with the flags of docs/docker.md the sandbox is %q", got)
	}
	j := second.submit(t, programs["python"])
	j.ends("Succeeded", "Completed")

	resp, err := second.client.Get(second.url + "/api/v1/server")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var server struct {
		Version  string
		Runtimes []struct{ Name string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&server); err != nil {
		t.Fatal(err)
	}
	if server.Version != dockerVersion || len(server.Runtimes) != 4 {
		t.Errorf("the server says %+v; want version %s and four runtimes", server, dockerVersion)
	}
}
