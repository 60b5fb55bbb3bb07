package manifests

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func overlayOne(t *testing.T) []object {
	t.Helper()
	return overlay(t, folder+"/overlays/one")
}

// TestOneHas demands that the overlay one installs one Service, the reaper, and nothing of what only
// separate functions need.
func TestOneHas(t *testing.T) {
	var got []string
	for _, o := range overlayOne(t) {
		got = append(got, o.Object.GetObjectKind().GroupVersionKind().Kind+"/"+o.meta.GetName())
	}
	slices.Sort(got)
	want := []string{
		"ConfigMap/job-orchestrator", "ConfigMap/profiles", "CronJob/reap", "Namespace/job-orchestrator",
		"NetworkPolicy/jobs", "PersistentVolumeClaim/data", "Role/cancel", "Role/front", "Role/keys", "Role/launch",
		"Role/reap", "Role/status", "RoleBinding/cancel", "RoleBinding/front", "RoleBinding/keys", "RoleBinding/launch",
		"RoleBinding/reap", "RoleBinding/status", "Service/job-orchestrator", "ServiceAccount/front",
		"ServiceAccount/job", "ServiceAccount/reap",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// TestOneRights demands that its account holds the rights of the functions that answer requests, and
// not those of the reaper, which alone may list Secrets.
func TestOneRights(t *testing.T) {
	holds := map[string][]string{}
	each(overlayOne(t), func(_ string, b *rbacv1.RoleBinding) {
		for _, s := range b.Subjects {
			holds[s.Name] = append(holds[s.Name], b.RoleRef.Name)
		}
	})
	for _, roles := range holds {
		slices.Sort(roles)
	}
	want := map[string][]string{
		"front": {"cancel", "front", "keys", "launch", "status"}, "reap": {"launch", "reap"},
	}
	if diff := cmp.Diff(want, holds); diff != "" {
		t.Errorf("roles by account (-want +got):\n%s", diff)
	}
}

// TestOneWiring demands that the pod has what the pods of the separate functions have together, and
// that the settings lead to it.
func TestOneWiring(t *testing.T) {
	all := overlayOne(t)
	each(all, func(_ string, c *corev1.ConfigMap) {
		if c.Name != namespace {
			return
		}
		if c.Data["K_SINK"] != "" || c.Data["ARTIFACTS_URL"] != c.Data["ORCH_BASE_URL"] || c.Data["ORCH_BASE_URL"] == "" {
			t.Errorf("K_SINK %q, ARTIFACTS_URL %q", c.Data["K_SINK"], c.Data["ARTIFACTS_URL"])
		}
	})
	env, volumes := map[string]bool{}, map[string]bool{}
	pods(t, func(_, name string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		if name == "reap" {
			return
		}
		collect(spec, env, volumes)
	})
	for _, name := range []string{"WAKE", "EVENTS_FROM_BROKER"} { // there is nobody to start, and no Broker
		delete(env, name)
	}
	each(all, func(_ string, s *servingv1.Service) {
		spec := &s.Spec.Template.Spec.PodSpec
		gotEnv, gotVolumes := map[string]bool{}, map[string]bool{}
		collect(spec, gotEnv, gotVolumes)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(env)), slices.Sorted(maps.Keys(gotEnv))); diff != "" {
			t.Errorf("environment (-of the functions +of the one):\n%s", diff)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(volumes)), slices.Sorted(maps.Keys(gotVolumes))); diff != "" {
			t.Errorf("volumes (-of the functions +of the one):\n%s", diff)
		}
		if got := spec.Containers[0].Image; !strings.HasPrefix(got, "registry.example/"+commands+"one@") {
			t.Errorf("image %s", got)
		}
	})
	each(all, func(_ string, c *batchv1.CronJob) {
		reaper := &c.Spec.JobTemplate.Spec.Template.Spec
		if !slices.Contains(reaper.Containers[0].Env, corev1.EnvVar{Name: "REAP_LAUNCHES", Value: "true"}) {
			t.Error("nobody launches what was lost")
		}
	})
}

// collect notes the names of a pod's variables, what they are taken from, and its volumes.
func collect(spec *corev1.PodSpec, env, volumes map[string]bool) {
	for _, c := range spec.Containers {
		for _, v := range c.Env {
			env[v.Name] = true
		}
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil {
				env["ConfigMap "+from.ConfigMapRef.Name] = true
			}
			if from.SecretRef != nil {
				env["Secret "+from.SecretRef.Name] = true
			}
		}
		for _, m := range c.VolumeMounts {
			volumes[m.Name+" "+m.MountPath] = true
		}
	}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
	}
}
