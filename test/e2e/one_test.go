//go:build e2e

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// oneNamespace is where config/examples/one-process.yml puts everything.
const oneNamespace = "jobs"

// TestOneProcess runs the one process in the cluster, with its jobs as Kubernetes Jobs: first with
// the account of its pod, then with a kubeconfig. A job outlives the process that launched it.
func TestOneProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv("KUBECONFIG") == "" {
		t.Fatal("KUBECONFIG names no cluster")
	}
	apply := exec.CommandContext(t.Context(), "ko", append([]string{"apply"}, append(strings.Fields(os.Getenv("KO_FLAGS")),
		"-f", "config/examples/one-process.yml")...)...)
	apply.Dir, apply.Env = "../..", append(os.Environ(), "JOBS=kubernetes", "KO_CONFIG_PATH=ko.yaml")
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("ko apply: %v: %s", err, out)
	}
	t.Cleanup(func() {
		// Agents would wait for a server that is gone before them.
		_, _ = command("kubectl", "delete", "pods", "--all", "-n", oneNamespace, "--grace-period=0", "--force")
		if out, err := command("kubectl", "delete", "namespace", oneNamespace, "--timeout=8m"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := command("kubectl", "logs", "-n", oneNamespace, "deployment/job-orchestrator", "--tail=50")
			jobs, _ := command("kubectl", "get", "jobs,pods,events", "-n", oneNamespace)
			t.Logf("%s\n%s", out, jobs)
		}
	})
	var forwards []*exec.Cmd
	t.Cleanup(func() { // after the jobs are removed, whose cleanups come later and so run before
		for _, cmd := range forwards {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	s := oneProcess(t, "(the pod's own account)", &forwards)
	if s.key == "" {
		t.Fatal("the first start shows no key")
	}
	j := s.submit(t, script("python", "main.py", "import sys; print('hello', sys.argv[1]); open('results/a', "+
		"'w').write('x')", "arg=there"))
	j.ends("Succeeded", "Completed")
	if got := j.logs("tail=all"); got != "hello there\n" {
		t.Errorf("log %q", got)
	}
	if got := j.get("/outputs/" + j.ID + "/a"); got != "x" {
		t.Errorf("output %q", got)
	}
	until(t, patience, "the Job is complete", func() bool {
		return kube(t, "get", "job", j.Name, "-n", oneNamespace, "-o", "jsonpath={.status.succeeded}") == "1"
	})

	cancelled := s.submit(t, shell("echo begun; exec sleep 600"))
	cancelled.says("begun")
	if resp, body := cancelled.call(http.MethodPost, "/api/v1/jobs/"+cancelled.ID+"/cancel"); resp.StatusCode >= 300 {
		t.Errorf("cancel: %s: %s", resp.Status, body)
	}
	cancelled.ends("Cancelled", "Cancelled")
	missing := s.submit(t, shell("true", "image=localhost:5000/no/such:image"))
	missing.shows("ImagePullBackOff")

	lives := s.submit(t, shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo $i; sleep 1; done"))
	lives.says("1\n")
	token := kube(t, "create", "token", "job-orchestrator", "-n", oneNamespace, "--duration=1h")
	useKubeconfig(t, token)
	again := oneProcess(t, "(KUBECONFIG)", &forwards)
	if again.key != "" {
		t.Error("the second start shows a key again")
	}
	s.url = again.url // the jobs of before are asked for there as well
	lives.ends("Succeeded", "Completed")
	if got, want := lives.logs("tail=all"),
		"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n"; got != want {
		t.Errorf("the log of the job that outlived its server is %q", got)
	}
	if got := j.logs("tail=all"); got != "hello there\n" {
		t.Errorf("log after the restart %q", got)
	}
	s.submit(t, shell("echo again")).ends("Succeeded", "Completed")
}

// useKubeconfig gives the process a kubeconfig with a token instead of its pod's account.
func useKubeconfig(t *testing.T, token string) {
	t.Helper()
	config, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "here",
		"contexts": []any{map[string]any{"name": "here", "context": map[string]string{
			"cluster": "here", "user": "here", "namespace": oneNamespace,
		}}},
		"clusters": []any{map[string]any{"name": "here", "cluster": map[string]any{
			"server": "https://kubernetes.default.svc", "certificate-authority-data": certificate(t),
		}}},
		"users": []any{map[string]any{"name": "here", "user": map[string]string{"token": token}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": "kubeconfig", "namespace": oneNamespace},
		"stringData": map[string]string{"config": string(config)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := kubectl(t, secret, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	patch := `{"spec":{"template":{"spec":{"automountServiceAccountToken":false,
		"containers":[{"name":"job-orchestrator","env":[{"name":"KUBECONFIG","value":"/kube/config"}],
			"volumeMounts":[{"name":"kubeconfig","mountPath":"/kube"}]}],
		"volumes":[{"name":"kubeconfig","secret":{"secretName":"kubeconfig"}}]}}}}`
	kube(t, "patch", "deployment", "job-orchestrator", "-n", oneNamespace, "-p", patch)
}

// certificate is that of the cluster's authority, in base64.
func certificate(t *testing.T) string {
	t.Helper()
	text := kube(t, "get", "configmap", "kube-root-ca.crt", "-n", oneNamespace, "-o", `jsonpath={.data.ca\.crt}`)
	return base64.StdEncoding.EncodeToString([]byte(text + "\n"))
}

// oneProcess waits until the process is there, which greets with the given words, and forwards a
// port to it.
func oneProcess(t *testing.T, greeting string, forwards *[]*exec.Cmd) *service {
	t.Helper()
	kube(t, "rollout", "status", "deployment/job-orchestrator", "-n", oneNamespace, "--timeout=5m")
	log := kube(t, "logs", "-n", oneNamespace, "deployment/job-orchestrator")
	if !strings.Contains(log, "jobs are Kubernetes Jobs: namespace "+oneNamespace) || !strings.Contains(log, greeting) {
		t.Errorf("the process greets with %q", log)
	}
	forward := exec.Command("kubectl", "port-forward", "-n", oneNamespace, "service/job-orchestrator", ":8080")
	out, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	*forwards = append(*forwards, forward)
	stuck := time.AfterFunc(time.Minute, func() { _ = forward.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if found := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindStringSubmatch(lines.Text()); found != nil {
			go func() {
				for lines.Scan() {
				}
			}()
			return &service{url: fmt.Sprintf("http://127.0.0.1:%s", found[1]), client: &http.Client{},
				key: shownKey.FindString(log)}
		}
	}
	t.Fatal("kubectl port-forward does not say to which port")
	return nil
}
