//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// functionSpace has the one function, beside which config/ stays as it is.
const functionSpace = "job-orchestrator-func"

// funcFile is what func deploy reads of func.yaml.
type funcFile struct {
	Run struct {
		Envs    []struct{ Name, Value string }
		Volumes []map[string]any
	}
	Deploy struct {
		ServiceAccountName string
		HealthEndpoints    struct{ Readiness string }
		Options            struct{ Resources map[string]any }
	}
}

// service is the Knative Service that func deploy makes of func.yaml, with an image that ko has
// built.
func (f *funcFile) service(image, agentImage string) map[string]any {
	var envs, envFrom, mounts, volumes []any
	for _, e := range f.Run.Envs {
		what := strings.Split(strings.Trim(e.Value, "{} "), ":")
		switch {
		case !strings.HasPrefix(e.Value, "{{"):
			envs = append(envs, map[string]any{"name": e.Name, "value": inFunctionSpace(e.Value)})
		case what[0] == "configMap":
			envFrom = append(envFrom, map[string]any{"configMapRef": map[string]any{"name": what[1]}})
		case what[0] == "secret":
			envs = append(envs, map[string]any{"name": e.Name,
				"valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": what[1], "key": what[2]}}})
		case what[0] == "env":
			envs = append(envs, map[string]any{"name": e.Name, "value": agentImage})
		}
	}
	for i, v := range f.Run.Volumes {
		name := string(rune('a' + i))
		mounts = append(mounts, map[string]any{"name": name, "mountPath": v["path"]})
		delete(v, "path")
		v["name"] = name
		volumes = append(volumes, v)
	}
	return map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": "job-orchestrator", "namespace": functionSpace},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"serviceAccountName": f.Deploy.ServiceAccountName, "securityContext": map[string]any{"fsGroup": 65532},
			"containers": []any{map[string]any{
				"image": image, "env": envs, "envFrom": envFrom, "volumeMounts": mounts, "resources": f.Deploy.Options.Resources,
				"readinessProbe": map[string]any{"httpGet": map[string]any{"path": f.Deploy.HealthEndpoints.Readiness,
					"port": 8080}},
				"securityContext": map[string]any{
					"runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []string{"ALL"}},
					"seccompProfile": map[string]string{"type": "RuntimeDefault"},
				},
			}},
			"volumes": volumes,
		}}},
	}
}

func inFunctionSpace(text string) string {
	for old, changed := range map[string]string{
		"namespace: job-orchestrator\n": "namespace: " + functionSpace + "\n",
		"namespace: job-orchestrator}":  "namespace: " + functionSpace + "}",
		"NAMESPACE: job-orchestrator\n": "NAMESPACE: " + functionSpace + "\n", "name: job-orchestrator\n  labels": "name: " +
			functionSpace + "\n  labels",
		".job-orchestrator.svc": "." + functionSpace + ".svc",
	} {
		text = strings.ReplaceAll(text, old, changed)
	}
	return text
}

// koBuild builds an image and returns its name.
func koBuild(t *testing.T, pkg string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ko",
		append([]string{"build"}, append(strings.Fields(os.Getenv("KO_FLAGS")), pkg)...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "KO_CONFIG_PATH=ko.yaml")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ko build %s: %v", pkg, err)
	}
	return strings.TrimSpace(string(out))
}

// TestFunction runs a job with the whole API as the one function that func.yaml describes.
func TestFunction(t *testing.T) {
	s := installed(t)
	text, err := os.ReadFile("../../func.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f funcFile
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = command("kubectl", "delete", "namespace", functionSpace, "--wait=false", "--ignore-not-found")
	})
	for _, name := range []string{
		"base/100-namespace.yaml", "base/200-accounts.yaml", "base/210-roles.yaml", "base/300-storage.yaml",
		"base/310-settings.yaml",
		"examples/function.yml",
	} {
		manifest, err := os.ReadFile(filepath.Join(manifestsFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, stderr, err := kubectl(t, []byte(inFunctionSpace(string(manifest))), "apply", "-f", "-"); err != nil {
			t.Fatalf("%s: %v: %s", name, err, stderr)
		}
	}
	kube(t, "create", "secret", "generic", "token-keys", "-n", functionSpace,
		"--from-literal=TOKEN_KEYS=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	manifest, err := json.Marshal(f.service(koBuild(t, "./test/e2e/scaffold"), koBuild(t, "./functions/cmd/agent")))
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := kubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	kube(t, "wait", "-n", functionSpace, "--for=condition=Ready", "--timeout=3m", "ksvc/job-orchestrator")
	one := &service{url: kube(t, "get", "ksvc", "job-orchestrator", "-n", functionSpace, "-o", "jsonpath={.status.url}"),
		client: s.client}
	until(t, time.Minute, "it answers", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, one.url+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, _ := one.do(t, req)
		return resp.StatusCode == http.StatusOK
	})
	j := one.submit(t, shell("echo hello; echo x >results/x"))
	j.ends("Succeeded", "Completed")
	if got := j.logs("tail=all"); got != "hello\n" {
		t.Errorf("log %q", got)
	}
	if got := j.get("/outputs/" + j.ID + "/x"); got != "x\n" {
		t.Errorf("output %q", got)
	}
	if out, err := command("kubectl", "get", "job", j.Name, "-n", functionSpace); err != nil {
		t.Errorf("there is no such Job: %s", out)
	}
}
