package manifests

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"go-job-orchestrator/shared/kubernetes"
)

// TestTokenKeys demands the key where tokens and assertions are made or checked, and nowhere else.
func TestTokenKeys(t *testing.T) {
	want := []string{"artifacts", "cancel", namespace, "keys", "launch", "logs", "outputs", "reap", "status",
		"submit"}
	var got []string
	pods(t, func(file, name string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		for _, c := range spec.Containers {
			for _, v := range c.Env {
				if v.Name != "TOKEN_KEYS" {
					continue
				}
				if v.Value != "" || v.ValueFrom == nil || v.ValueFrom.SecretKeyRef == nil ||
					v.ValueFrom.SecretKeyRef.Name != "token-keys" || v.ValueFrom.SecretKeyRef.Key != "TOKEN_KEYS" {
					t.Errorf("%s: TOKEN_KEYS is not that of the Secret", file)
				}
				got = append(got, name)
			}
			hasVolume := slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil })
			// Only functions with the storage take a whole Secret: that of the bucket, artifacts that of the
			// package indexes, and the reaper that of the collector, to which it alone talks.
			own := map[string]string{"package-indexes": "artifacts", "telemetry": "reap"}
			for _, from := range c.EnvFrom {
				if s := from.SecretRef; s != nil && (s.Name != "bucket-credentials" && own[s.Name] != name ||
					s.Optional == nil || !*s.Optional || !hasVolume) {
					t.Errorf("%s: takes all of the Secret %s", file, s.Name)
				}
			}
		}
	})
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who has the key (-want +got):\n%s", diff)
	}
}

// TestKeys demands that front alone has the keys of callers mounted, where it reads them, and that
// it starts without them.
func TestKeys(t *testing.T) {
	readers := 0
	pods(t, func(file, name string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		for _, v := range spec.Volumes {
			if v.Secret == nil {
				continue
			}
			readers++
			if name != namespace || v.Secret.SecretName != kubernetes.KeysSecret || v.Secret.Optional == nil ||
				!*v.Secret.Optional {
				t.Errorf("%s: has the Secret %s mounted", file, v.Secret.SecretName)
			}
			c := spec.Containers[0]
			i := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
			if i < 0 || !c.VolumeMounts[i].ReadOnly {
				t.Fatalf("%s: the keys are not mounted read-only", file)
			}
			want := corev1.EnvVar{Name: "KEYS_FILE", Value: c.VolumeMounts[i].MountPath + "/" + kubernetes.KeysEntry}
			if !slices.Contains(c.Env, want) {
				t.Errorf("%s: KEYS_FILE is not %s", file, want.Value)
			}
			if !slices.Contains(c.Env, corev1.EnvVar{Name: "KEYS_SECRET", Value: kubernetes.KeysSecret}) {
				t.Errorf("%s: KEYS_SECRET is not the Secret that is mounted", file)
			}
		}
	})
	if readers != 1 {
		t.Errorf("%d pods have keys", readers)
	}
}

// TestEvents demands that events without credentials come in only where the Broker sends them.
func TestEvents(t *testing.T) {
	var open []string
	pods(t, func(_, name string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		for _, v := range spec.Containers[0].Env {
			if v.Name == "EVENTS_FROM_BROKER" && v.Value == "true" {
				open = append(open, name)
			}
		}
	})
	if want := []string{"submit"}; !slices.Equal(open, want) {
		t.Errorf("events without credentials come in at %q, want %q", open, want)
	}
	each(load(t, ".yaml"), func(file string, c *corev1.ConfigMap) {
		if _, found := c.Data["EVENTS_FROM_BROKER"]; found {
			t.Errorf("%s: every function would take EVENTS_FROM_BROKER", file)
		}
		if c.Name == "job-orchestrator" && c.Data["AUTH"] != "keys" { // the ConfigMap of the settings
			t.Errorf("%s: AUTH is %q", file, c.Data["AUTH"])
		}
	})
}

// TestNetwork demands that nothing reaches the pods of jobs, and that nothing but Knative and front
// connects to the functions behind front.
func TestNetwork(t *testing.T) {
	all := load(t, ".yaml")
	policies := map[string]networkingv1.NetworkPolicySpec{}
	each(all, func(file string, p *networkingv1.NetworkPolicy) {
		policies[p.Name] = p.Spec
		if !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
			t.Errorf("%s: %s is about %q", file, p.Name, p.Spec.PolicyTypes)
		}
	})
	const label = "serving.knative.dev/service" // Knative puts it onto the pods of a Service
	isFor := func(p networkingv1.NetworkPolicySpec, pod map[string]string) bool {
		selector, err := metav1.LabelSelectorAsSelector(&p.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		return selector.Matches(labels.Set(pod))
	}
	// lets reports whether a policy lets in the pods with some labels, of a namespace.
	lets := func(p networkingv1.NetworkPolicySpec, space string, pod map[string]string) bool {
		for _, rule := range p.Ingress {
			for _, peer := range rule.From {
				if peer.IPBlock != nil || len(rule.Ports) > 0 {
					t.Errorf("got %+v", rule)
				}
				spaces, spacesErr := metav1.LabelSelectorAsSelector(peer.NamespaceSelector)
				pods, podsErr := metav1.LabelSelectorAsSelector(peer.PodSelector)
				if err := errors.Join(spacesErr, podsErr); err != nil {
					t.Fatal(err)
				}
				inSpace := peer.NamespaceSelector == nil && space == namespace ||
					spaces.Matches(labels.Set{"kubernetes.io/metadata.name": space})
				if inSpace && (peer.PodSelector == nil || pods.Matches(labels.Set(pod))) {
					return true
				}
			}
		}
		return false
	}
	functions, jobs := policies["functions"], policies["jobs"]
	each(all, func(file string, s *servingv1.Service) {
		if pod := map[string]string{label: s.Name}; isFor(functions, pod) == (s.Name == namespace) || isFor(jobs, pod) {
			t.Errorf("%s: the policies are for other pods than they say", file)
		}
	})
	job := map[string]string{"app.kubernetes.io/name": "go-job-orchestrator", "app.kubernetes.io/component": "job"}
	if !isFor(jobs, job) || isFor(functions, job) || len(jobs.Ingress) != 0 {
		t.Errorf("something reaches jobs: %+v", jobs)
	}
	front := map[string]string{label: namespace}
	for _, from := range []struct {
		space string
		pod   map[string]string
		want  bool
	}{
		{"knative-serving", map[string]string{"app": "activator"}, true},
		{"knative-eventing", map[string]string{"app": "imc-dispatcher"}, true},
		{"kourier-system", nil, true}, {"istio-system", nil, true}, {namespace, front, true},
		{namespace, job, false}, {namespace, nil, false}, {"default", nil, false}, {"default", front, false},
		{"kube-system", nil, false},
	} {
		if got := lets(functions, from.space, from.pod); got != from.want {
			t.Errorf("a pod of %s with labels %v may connect to functions: %v", from.space, from.pod, got)
		}
	}
}
