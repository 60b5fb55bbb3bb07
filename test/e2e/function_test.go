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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"
)

// functionSpace has the one function, beside which config/ stays as it is.
const functionSpace = "job-orchestrator-func"

// funcFile is what func deploy reads of func.yaml.
type funcFile struct {
	Run struct {
		Envs    []struct{ Name, Value string }
		Volumes []struct {
			Path     string
			EmptyDir *corev1.EmptyDirVolumeSource
			Claim    *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim"`
			Secret   string
		}
	}
	Deploy struct {
		ServiceAccountName string
		HealthEndpoints    struct{ Readiness string }
		Options            struct{ Resources corev1.ResourceRequirements }
	}
}

// service is the Knative Service that func deploy makes of func.yaml, with an image that ko has
// built.
func (f *funcFile) service(image, agentImage string) *servingv1.Service {
	one := corev1.Container{
		Image: image, Resources: f.Deploy.Options.Resources,
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: f.Deploy.HealthEndpoints.Readiness, Port: intstr.FromInt32(8080),
		}}},
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot: new(true), AllowPrivilegeEscalation: new(false),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	for _, e := range f.Run.Envs {
		what := strings.Split(strings.Trim(e.Value, "{} "), ":")
		switch {
		case !strings.HasPrefix(e.Value, "{{"):
			one.Env = append(one.Env, corev1.EnvVar{Name: e.Name, Value: inFunctionSpace(e.Value)})
		case what[0] == "configMap":
			one.EnvFrom = append(one.EnvFrom, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: what[1]},
			}})
		case what[0] == "secret":
			one.Env = append(one.Env, corev1.EnvVar{Name: e.Name, ValueFrom: &corev1.EnvVarSource{
				SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: what[1]}, Key: what[2],
				},
			}})
		case what[0] == "env":
			one.Env = append(one.Env, corev1.EnvVar{Name: e.Name, Value: agentImage})
		}
	}
	var pod corev1.PodSpec
	for i, v := range f.Run.Volumes {
		name := string(rune('a' + i))
		one.VolumeMounts = append(one.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: v.Path})
		source := corev1.VolumeSource{EmptyDir: v.EmptyDir, PersistentVolumeClaim: v.Claim}
		if v.Secret != "" {
			source.Secret = &corev1.SecretVolumeSource{SecretName: v.Secret}
		}
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	}
	pod.ServiceAccountName = f.Deploy.ServiceAccountName
	pod.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(65532))}
	pod.Containers = []corev1.Container{one}
	s := &servingv1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "serving.knative.dev/v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: "job-orchestrator", Namespace: functionSpace},
	}
	s.Spec.Template.Spec.PodSpec = pod
	return s
}

func inFunctionSpace(text string) string { return inSpace(functionSpace, text) }

// inSpace changes a manifest of config/ for another namespace.
func inSpace(space, text string) string {
	for old, changed := range map[string]string{
		"namespace: job-orchestrator\n": "namespace: " + space + "\n",
		"namespace: job-orchestrator}":  "namespace: " + space + "}",
		"NAMESPACE: job-orchestrator\n": "NAMESPACE: " + space + "\n", "name: job-orchestrator\n  labels": "name: " +
			space + "\n  labels",
		".job-orchestrator.svc": "." + space + ".svc",
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

// firstKey makes the Secret keys as make secret does, and returns the key of the admin.
func firstKey(t *testing.T, space string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "run", "-tags", "grpcnotrace,disable_grpc_modules",
		"./functions/cmd/keys", "--first")
	cmd.Dir = "../.."
	var shown strings.Builder
	cmd.Stderr = &shown
	manifest, err := cmd.Output()
	if err != nil {
		t.Fatalf("keys --first: %v", err)
	}
	if _, stderr, err := kubectl(t, manifest, "create", "-n", space, "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	return shownKey.FindString(shown.String())
}

// TestFunction runs a job with the whole API as the one function that func.yaml describes.
func TestFunction(t *testing.T) {
	t.Parallel()
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
	key := firstKey(t, functionSpace)
	manifest, err := json.Marshal(f.service(koBuild(t, "./test/e2e/scaffold"), koBuild(t, "./functions/cmd/agent")))
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := kubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	kube(t, "wait", "-n", functionSpace, "--for=condition=Ready", "--timeout=3m", "ksvc/job-orchestrator")
	one := &service{url: kube(t, "get", "ksvc", "job-orchestrator", "-n", functionSpace, "-o", "jsonpath={.status.url}"),
		client: s.client, key: key}
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
