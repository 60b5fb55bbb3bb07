//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// overlaySpace has the overlay one, beside which config/ stays as it is.
const overlaySpace = "job-orchestrator-one"

// TestOverlayOne has the whole API as one Knative Service: jobs from zero pods, a cancel, agents that
// cannot be called from outside, and the reaper, which launches what was lost and sets its schedule.
func TestOverlayOne(t *testing.T) {
	t.Parallel()
	one := installOverlayOne(t, installed(t))
	gone := func() bool {
		pods := strings.Fields(kube(t, "get", "pods", "-n", overlaySpace, "-l", "serving.knative.dev/service", "-o",
			`jsonpath={range .items[*]}ends={.metadata.deletionTimestamp} {end}`))
		return !slices.Contains(pods, "ends=")
	}
	lost := loseLaunch(t, one)
	until(t, patience, "its pods go", gone)

	hello := one.submit(t, shell("echo hello; echo x >results/x", "ttlSecondsAfterFinished=1"))
	hello.says("hello\n")
	hello.ends("Succeeded", "Completed")
	if got := hello.get("/outputs/" + hello.ID + "/x"); got != "x\n" {
		t.Errorf("output %q", got)
	}
	cancelled := one.submit(t, shell("echo begun; exec sleep 600"))
	cancelled.says("begun")
	if resp, body := cancelled.call(http.MethodPost, "/api/v1/jobs/"+cancelled.ID+"/cancel"); resp.StatusCode >= 300 {
		t.Errorf("cancel: %s: %s", resp.Status, body)
	}
	cancelled.ends("Cancelled", "Cancelled")
	if resp, body := hello.call(http.MethodPost, "/agent/v1/jobs/"+hello.ID+"/attempts"); resp.StatusCode != http.
		StatusNotFound || !strings.Contains(string(body), "no such path") {
		t.Errorf("the calls of agents at the public URL: %s: %s", resp.Status, body)
	}

	until(t, patience, "the reaper launches the lost job", func() bool {
		reapNow(t)
		return lost.status().Phase == "Succeeded"
	})
	if resp, body := hello.call(http.MethodGet, "/api/v1/jobs/"+hello.ID); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the expired job: %s: %s", resp.Status, body)
	}
	// The time at which the Service asked for the reaper counts for minutes; without it, idle is idle.
	until(t, patience, "its pods go", gone)
	kube(t, "annotate", "cronjob", "reap", "-n", overlaySpace, "go-job-orchestrator.github.io/called-at-")
	until(t, patience, "rounds are rare", func() bool { reapNow(t); return schedule(t) == "*/5 * * * *" })
	one.submit(t, shell("echo again")).says("again\n")
	until(t, time.Minute, "rounds are frequent", func() bool { return schedule(t) == "* * * * *" })
}

func schedule(t *testing.T) string {
	t.Helper()
	return kube(t, "get", "cronjob", "reap", "-n", overlaySpace, "-o", "jsonpath={.spec.schedule}")
}

// reapNow makes a round of the reaper.
func reapNow(t *testing.T) {
	t.Helper()
	name := fmt.Sprintf("reap-now-%d", time.Now().UnixNano())
	kube(t, "create", "job", name, "--from=cronjob/reap", "-n", overlaySpace)
	kube(t, "wait", "job", name, "-n", overlaySpace, "--for=condition=Complete", "--timeout=3m")
}

// installOverlayOne installs the overlay in a namespace of its own. Its pods go after seconds.
func installOverlayOne(t *testing.T, beside *service) *service {
	t.Helper()
	t.Cleanup(func() {
		_, _ = command("kubectl", "delete", "namespace", overlaySpace, "--wait=false", "--ignore-not-found")
	})
	text := inSpace(overlaySpace, kube(t, "kustomize", manifestsFolder+"/overlays/one")+"\n")
	for old, changed := range map[string]string{
		"restricted\n  name: job-orchestrator\n": "restricted\n  name: " + overlaySpace + "\n",
		"scale-to-zero-pod-retention-period: 1m\n": "scale-to-zero-pod-retention-period: 0s\n        " +
			"autoscaling.knative.dev/window: 6s\n",
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("the overlay has not one %q", old)
		}
		text = strings.Replace(text, old, changed, 1)
	}
	kube(t, "create", "namespace", overlaySpace)
	kube(t, "create", "secret", "generic", "token-keys", "-n", overlaySpace,
		"--from-literal=TOKEN_KEYS=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	key := firstKey(t, overlaySpace)
	apply := exec.CommandContext(t.Context(), "ko", append([]string{"apply"},
		append(strings.Fields(os.Getenv("KO_FLAGS")), "-f", "-")...)...)
	apply.Dir, apply.Env, apply.Stdin = "../..", append(os.Environ(), "KO_CONFIG_PATH=ko.yaml"), strings.NewReader(text)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("ko apply: %v: %s", err, out)
	}
	kube(t, "wait", "-n", overlaySpace, "--for=condition=Ready", "--timeout=3m", "ksvc/job-orchestrator")
	return &service{
		url: kube(t, "get", "ksvc", "job-orchestrator", "-n", overlaySpace, "-o",
			"jsonpath={.status.url}"), client: beside.client, key: key,
	}
}

// loseLaunch submits a job while the process may not make Jobs.
func loseLaunch(t *testing.T, one *service) *run {
	t.Helper()
	bind := func(account string) {
		t.Helper()
		kube(t, "patch", "rolebinding", "launch", "-n", overlaySpace, "--type=json", "-p",
			`[{"op":"replace","path":"/subjects/0/name","value":"`+account+`"}]`)
	}
	bind("nobody")
	lost := one.submit(t, shell("echo late"))
	until(t, patience, "it is not launched", func() bool {
		out, _ := command("kubectl", "logs", "-n", overlaySpace, "-l", "serving.knative.dev/service=job-orchestrator", "-c",
			"user-container", "--tail=-1")
		return strings.Contains(out, "cannot create resource")
	})
	bind("front")
	return lost
}
