package manifests

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/networking/pkg/apis/networking"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/runtimes"
)

// rights are all that the accounts may do in Kubernetes.
func rights() map[string][]rbacv1.PolicyRule {
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
	}
	keys, front := rule("", "secrets", "get", "update"), rule("", "secrets", "get")
	keys.ResourceNames, front.ResourceNames = []string{"keys"}, []string{"keys"}
	schedule := rule("batch", "cronjobs", "get", "patch")
	schedule.ResourceNames = []string{"reap"}
	return map[string][]rbacv1.PolicyRule{
		"front":  {front},
		"keys":   {keys},
		"launch": {rule("batch", "jobs", "create", "get"), rule("", "secrets", "create"), schedule},
		"status": {rule("batch", "jobs", "get"), rule("", "pods", "list"), rule("", "events", "list")},
		"cancel": {rule("batch", "jobs", "get", "delete"), rule("", "pods", "list", "delete")},
		"reap": {rule("batch", "jobs", "get", "list", "delete"), rule("", "pods", "list", "delete"),
			rule("", "events", "list"), schedule, rule("", "secrets", "list")},
	}
}

func TestRoles(t *testing.T) {
	all := load(t, ".yaml")
	roles, bindings := map[string][]rbacv1.PolicyRule{}, map[string]string{}
	each(all, func(_ string, r *rbacv1.Role) { roles[r.Name] = r.Rules })
	each(all, func(_ string, b *rbacv1.RoleBinding) {
		for _, s := range b.Subjects {
			bindings[b.RoleRef.Kind+"/"+b.RoleRef.Name] += s.Kind + "/" + s.Namespace + "/" + s.Name
		}
	})
	if diff := cmp.Diff(rights(), roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	want := map[string]string{}
	for name := range rights() {
		want["Role/"+name] = "ServiceAccount/" + namespace + "/" + name
	}
	if diff := cmp.Diff(want, bindings); diff != "" {
		t.Errorf("who has them (-want +got):\n%s", diff)
	}
	each(all, func(file string, r *rbacv1.ClusterRole) {
		t.Errorf("%s: %s reaches beyond the namespace", file, r.Name)
	})
	each(all, func(file string, b *rbacv1.ClusterRoleBinding) {
		t.Errorf("%s: %s reaches beyond the namespace", file, b.Name)
	})
}

// TestAccounts demands an account for each pod, whose token is mounted only where it has rights.
func TestAccounts(t *testing.T) {
	tokens := map[string]bool{}
	each(load(t, ".yaml"), func(_ string, a *corev1.ServiceAccount) {
		tokens[a.Name] = a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken
	})
	used := map[string]bool{}
	pods(t, func(file, _ string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		name := spec.ServiceAccountName
		if used[name] {
			t.Errorf("%s: account %s is used twice", file, name)
		}
		used[name] = true
		_, needed := rights()[name]
		mounted := spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken
		if token, exists := tokens[name]; !exists || token != needed || mounted != needed {
			t.Errorf("%s: account %q: exists %v; has a token %v, mounts it %v, needs it %v", file, name, exists, token, mounted,
				needed)
		}
	})
	used["job"] = true // that of jobs' pods
	if diff := cmp.Diff(slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(tokens))); diff != "" {
		t.Errorf("accounts (-used +made):\n%s", diff)
	}
	if tokens["job"] {
		t.Error("programs get a token of Kubernetes")
	}
}

func TestOnlyTheFrontIsPublic(t *testing.T) {
	each(load(t, ".yaml"), func(file string, s *servingv1.Service) {
		local := s.Labels[networking.VisibilityLabelKey] == "cluster-local"
		if front := s.Name == namespace; front == local {
			t.Errorf("%s: cluster-local is %v", file, local)
		}
	})
}

// TestNoSecrets looks for what must not be committed.
func TestNoSecrets(t *testing.T) {
	for _, ending := range []string{".yaml", ".yml"} {
		each(load(t, ending), func(file string, s *corev1.Secret) { t.Errorf("%s: Secret %s", file, s.Name) })
		each(load(t, ending), func(file string, c *corev1.ConfigMap) {
			for key := range c.Data {
				if strings.Contains(key, "KEY") || strings.Contains(key, "SECRET") || strings.Contains(key, "PASSWORD") {
					t.Errorf("%s: %s belongs into a Secret", file, key)
				}
			}
		})
		key := regexp.MustCompile(`[A-Za-z0-9+/]{42}[A-Za-z0-9+/=]`) // 32 bytes in base64
		for _, path := range files(t, ending) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range key.FindAllString(string(text), -1) {
				if !strings.Contains(found, "functions/cmd/") {
					t.Errorf("%s: %q looks like a key", path, found)
				}
			}
		}
	}
}

// TestCommands demands that each command has an image in a manifest, and each image a command.
func TestCommands(t *testing.T) {
	made := map[string]bool{}
	entries, err := os.ReadDir(root + "/functions/cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "all" && name != "one" { // for one machine, and for the overlay one
			made[entry.Name()] = true
		}
	}
	used := map[string]bool{}
	for _, path := range files(t, ".yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range image.FindAllStringSubmatch(string(text), -1) {
			name, ours := strings.CutPrefix(found[1], commands)
			if !ours {
				t.Errorf("%s: %s is no command", path, found[0])
			}
			used[name] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(made)), slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("commands (-made +used):\n%s", diff)
	}
	pods(t, func(file, name string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		if name == namespace {
			name = "front"
		}
		if got := spec.Containers[0].Image; !strings.HasPrefix(got, "registry.example/"+commands+name+"@") ||
			spec.ServiceAccountName != name {
			t.Errorf("%s: image %s and account %s, want those of %s", file, got, spec.ServiceAccountName, name)
		}
	})
}

// TestStreams demands that Knative does not end uploads and followers before it must, nor before
// they begin.
func TestStreams(t *testing.T) {
	each(load(t, ".yaml"), func(file string, s *servingv1.Service) {
		spec := s.Spec.Template.Spec
		timeout := int64(600) // the most Knative takes
		switch s.Name {
		case "launch":
			timeout = 120
		case "deadletter", "keys":
			timeout = 60
		}
		if *spec.TimeoutSeconds != timeout || *spec.ResponseStartTimeoutSeconds != timeout ||
			spec.IdleTimeoutSeconds != nil || *spec.ContainerConcurrency != 0 {
			t.Errorf("%s: timeouts %d, %d, concurrency %d", file, *spec.TimeoutSeconds, *spec.ResponseStartTimeoutSeconds,
				*spec.ContainerConcurrency)
		}
		duplex := slices.Contains([]string{namespace, "submit", "artifacts"}, s.Name) // those that take uploads
		if got := s.Spec.Template.Annotations["features.knative.dev/http-full-duplex"] == "Enabled"; got != duplex {
			t.Errorf("%s: full duplex is %v", file, got)
		}
		if s.Spec.Template.Annotations["autoscaling.knative.dev/min-scale"] != "0" {
			t.Errorf("%s: does not scale to zero", file)
		}
	})
}

// TestEverythingIsInOneNamespace, so that removing it removes everything.
func TestEverythingIsInOneNamespace(t *testing.T) {
	for _, o := range load(t, ".yaml") {
		if _, is := o.Object.(*corev1.Namespace); is {
			if o.meta.GetName() != namespace {
				t.Errorf("%s: got %s", o.file, o.meta.GetName())
			}
			continue
		}
		if o.meta.GetNamespace() != namespace {
			t.Errorf("%s: %T %s is in %q", o.file, o.Object, o.meta.GetName(), o.meta.GetNamespace())
		}
	}
}

// TestWiring follows each name to what has it.
func TestWiring(t *testing.T) {
	all := load(t, ".yaml")
	services, claims, maps := map[string]bool{}, map[string]bool{}, map[string]*corev1.ConfigMap{}
	each(all, func(_ string, s *servingv1.Service) { services[s.Name] = true })
	each(all, func(_ string, c *corev1.PersistentVolumeClaim) { claims[c.Name] = true })
	each(all, func(_ string, c *corev1.ConfigMap) { maps[c.Name] = c })
	settings := maps[namespace]
	if settings == nil {
		t.Fatal("there are no settings")
	}
	pods(t, func(file, _ string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		for _, v := range spec.Volumes {
			if v.PersistentVolumeClaim != nil && !claims[v.PersistentVolumeClaim.ClaimName] {
				t.Errorf("%s: no claim %s", file, v.PersistentVolumeClaim.ClaimName)
			}
		}
		for _, c := range spec.Containers {
			for _, from := range c.EnvFrom {
				if from.ConfigMapRef != nil && maps[from.ConfigMapRef.Name] == nil {
					t.Errorf("%s: no ConfigMap %s", file, from.ConfigMapRef.Name)
				}
			}
			for _, m := range c.VolumeMounts {
				if m.Name == "data" && m.MountPath != settings.Data["STORAGE_DIR"] {
					t.Errorf("%s: storage at %s, settings say %s", file, m.MountPath, settings.Data["STORAGE_DIR"])
				}
			}
		}
	})
	var launched []string
	each(all, func(file string, tr *eventingv1.Trigger) {
		launched = append(launched, tr.Spec.Filter.Attributes["type"])
		if tr.Spec.Subscriber.Ref.Name != "launch" || tr.Spec.Delivery.DeadLetterSink.Ref.Name != "deadletter" {
			t.Errorf("%s: got %+v", file, tr.Spec)
		}
		for _, name := range []string{tr.Spec.Subscriber.Ref.Name, tr.Spec.Delivery.DeadLetterSink.Ref.Name} {
			if !services[name] {
				t.Errorf("%s: no Service %s", file, name)
			}
		}
		want := fmt.Sprintf("/%s/%s", tr.Namespace, tr.Spec.Broker)
		if sink, err := url.Parse(settings.Data["K_SINK"]); err != nil || sink.Path != want {
			t.Errorf("K_SINK %s leads to another Broker than %s", settings.Data["K_SINK"], want)
		}
	})
	if want := []string{event.Submitted, event.Launch}; !slices.Equal(launched, want) {
		t.Errorf("Triggers launch by %q, want %q", launched, want)
	}
	for _, name := range []string{"ORCH_BASE_URL", "ARTIFACTS_URL"} {
		u, err := url.Parse(settings.Data[name])
		service, rest, _ := strings.Cut(u.Hostname(), ".")
		if err != nil || !services[service] || rest != namespace+".svc.cluster.local" {
			t.Errorf("%s: no Service at %s", name, settings.Data[name])
		}
	}
	for _, r := range runtimes.All() {
		if settings.Data["IMAGE_"+strings.ToUpper(r.Name)] == "" {
			t.Errorf("no image for %s", r.Name)
		}
	}
	if settings.Data["NAMESPACE"] != namespace {
		t.Errorf("NAMESPACE is %s", settings.Data["NAMESPACE"])
	}
}

func TestReaper(t *testing.T) {
	n := 0
	each(load(t, ".yaml"), func(file string, c *batchv1.CronJob) {
		n++
		if c.Spec.Schedule != "* * * * *" || c.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent ||
			c.Spec.StartingDeadlineSeconds == nil ||
			c.Spec.SuccessfulJobsHistoryLimit == nil || *c.Spec.SuccessfulJobsHistoryLimit > 3 ||
			*c.Spec.FailedJobsHistoryLimit > 3 {
			t.Errorf("%s: got %+v", file, c.Spec)
		}
	})
	if n != 1 {
		t.Errorf("got %d CronJobs", n)
	}
}

// TestReadme demands that the README of the manifests names each file, and shows the patch of make
// features.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(folder + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	kustomizations, err := filepath.Glob(folder + "/*/*/Kustomization")
	if err != nil {
		t.Fatal(err)
	}
	listed := slices.Concat(files(t, ".yaml"), files(t, ".yml"), kustomizations, []string{folder + "/base/Kustomization"})
	for _, path := range listed {
		name, err := filepath.Rel(folder, path)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(readme), -1) {
		got = append(got, row[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifests (-in config/ +in the README):\n%s", diff)
	}
	patch := regexp.MustCompile(`(?s)--type merge -p '(\{.*?\})'`).FindSubmatch(readme)
	if patch == nil {
		t.Fatal("the README has no patch")
	}
	var described struct{ Data map[string]string }
	if err := json.Unmarshal(patch[1], &described); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(features(t), described.Data); diff != "" {
		t.Errorf("flags (-make features +README):\n%s", diff)
	}
}

// TestNames demands that every function knows its namespace, without which it does not answer to
// the name by which Knative routes.
func TestNames(t *testing.T) {
	each(load(t, ".yaml"), func(file string, s *servingv1.Service) {
		for _, from := range s.Spec.Template.Spec.Containers[0].EnvFrom {
			if from.ConfigMapRef != nil && from.ConfigMapRef.Name == "job-orchestrator" {
				return
			}
		}
		t.Errorf("%s: the settings are missing", file)
	})
}
