package manifests

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"
)

// TestStrictDecoding decodes what is applied and what is an example.
func TestStrictDecoding(t *testing.T) {
	if all := load(t, ".yaml"); len(all) < 30 {
		t.Errorf("only %d objects", len(all))
	}
	load(t, ".yml")
}

// TestServingAccepts holds the Services to the webhook of Knative Serving.
func TestServingAccepts(t *testing.T) {
	ctx := webhook(t, features(t))
	n := 0
	each(load(t, ".yaml"), func(file string, s *servingv1.Service) {
		n++
		s.SetDefaults(ctx)
		if err := s.Validate(ctx); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	})
	if n != 10 {
		t.Errorf("got %d Services, want one for each function but the reaper, and the sink for dead letters", n)
	}
	each(load(t, ".yml"), func(file string, m *servingv1beta1.DomainMapping) {
		m.SetDefaults(ctx)
		if err := m.Validate(ctx); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	})
}

// TestEachFlagIsNeeded leaves out one flag of make features after the other.
func TestEachFlagIsNeeded(t *testing.T) {
	for flag := range features(t) {
		flags := features(t)
		delete(flags, flag)
		ctx := webhook(t, flags)
		refused := false
		each(load(t, ".yaml"), func(_ string, s *servingv1.Service) {
			s.SetDefaults(ctx)
			refused = refused || s.Validate(ctx) != nil
		})
		if !refused {
			t.Errorf("%s is not needed", flag)
		}
	}
}

// TestEventingAccepts holds Broker and Trigger to the webhook of Knative Eventing.
func TestEventingAccepts(t *testing.T) {
	ctx := apis.WithinCreate(t.Context())
	brokers, triggers := 0, 0
	all := load(t, ".yaml")
	each(all, func(file string, b *eventingv1.Broker) {
		brokers++
		// as the webhook sets it
		b.Annotations = map[string]string{eventingv1.BrokerClassAnnotationKey: "the cluster's default"}
		b.SetDefaults(ctx)
		if err := b.Validate(ctx); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	})
	each(all, func(file string, tr *eventingv1.Trigger) {
		triggers++
		tr.SetDefaults(ctx)
		if err := tr.Validate(ctx); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	})
	if brokers != 1 || triggers == 0 {
		t.Errorf("got %d Brokers and %d Triggers", brokers, triggers)
	}
	pings := 0
	examples := load(t, ".yml")
	each(examples, func(file string, tr *eventingv1.Trigger) {
		tr.SetDefaults(ctx)
		if err := tr.Validate(ctx); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	})
	each(examples, func(file string, p *sourcesv1.PingSource) {
		pings++
		p.SetDefaults(ctx)
		if err := p.Validate(ctx); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	})
	if pings == 0 {
		t.Error("got no PingSource")
	}
}

// pods calls do with every pod that the manifests make.
func pods(t *testing.T, do func(file, name string, meta *metav1.ObjectMeta, spec *corev1.PodSpec)) {
	t.Helper()
	podsOf(t, load(t, ".yaml"), allPods, do)
}

// allPods is how many kinds of pods the base has: the functions, and the reaper.
const allPods = 11

// podsOf calls do with every pod that these make, of which there must be as many kinds.
func podsOf(t *testing.T, all []object, want int, do func(file, name string, meta *metav1.ObjectMeta, spec *corev1.PodSpec)) {
	t.Helper()
	n := 0
	each(all, func(file string, s *servingv1.Service) {
		n++
		do(file, s.Name, &s.Spec.Template.ObjectMeta, &s.Spec.Template.Spec.PodSpec)
	})
	each(all, func(file string, c *batchv1.CronJob) {
		n++
		template := &c.Spec.JobTemplate.Spec.Template
		do(file, c.Name, &template.ObjectMeta, &template.Spec)
	})
	if n != want {
		t.Errorf("got %d pods, want %d", n, want)
	}
}

// forbidden says why restricted Pod Security, which the namespace enforces, would refuse a pod.
func forbidden(t *testing.T, meta *metav1.ObjectMeta, spec *corev1.PodSpec) string {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	if result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, meta, spec)); !result.Allowed {
		return result.ForbiddenDetail()
	}
	return ""
}

// checkRestricted holds a pod to what the namespace enforces, and to more than it asks for.
func checkRestricted(t *testing.T, file string, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	t.Helper()
	if why := forbidden(t, meta, spec); why != "" {
		t.Errorf("%s: %s", file, why)
	}
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		s := c.SecurityContext
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.RunAsUser == nil ||
			*s.RunAsUser == 0 {
			t.Errorf("%s: the root must be read-only, the user not root", file)
		}
	}
	if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
		t.Errorf("%s: enableServiceLinks puts other services' addresses into the environment", file)
	}
}

func TestRestrictedPodSecurity(t *testing.T) {
	each(load(t, ".yml"), func(file string, j *batchv1.Job) { // the namespace would refuse an example as well
		if why := forbidden(t, &j.Spec.Template.ObjectMeta, &j.Spec.Template.Spec); why != "" {
			t.Errorf("%s: %s", file, why)
		}
	})
	pods(t, func(file, _ string, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
		checkRestricted(t, file, meta, spec)
	})
	each(load(t, ".yaml"), func(file string, n *corev1.Namespace) {
		if n.Labels[api.EnforceLevelLabel] != string(api.LevelRestricted) {
			t.Errorf("%s: got labels %v", file, n.Labels)
		}
	})
}

func TestResources(t *testing.T) {
	pods(t, func(file, _ string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) { checkResources(t, file, spec) })
}

// checkResources demands requests and limits, and that Go keeps away from the limit.
func checkResources(t *testing.T, file string, spec *corev1.PodSpec) {
	t.Helper()
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
			if list.Cpu().IsZero() || list.Memory().IsZero() {
				t.Errorf("%s: container %q: requests and limits of cpu and memory must be set", file, c.Name)
			}
		}
		if most, soft := c.Resources.Limits.Memory().Value(), goMemory(t, c.Env); soft < most*7/10 || soft > most*8/10 {
			t.Errorf("%s: GOMEMLIMIT is %d of %d bytes; the program itself needs room beside it", file, soft, most)
		}
		for name, request := range c.Resources.Requests {
			if limit := c.Resources.Limits[name]; request.Cmp(limit) > 0 {
				t.Errorf("%s: %s: the request is above the limit", file, name)
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.EmptyDir != nil && v.EmptyDir.SizeLimit == nil {
			t.Errorf("%s: volume %s has no size limit", file, v.Name)
		}
	}
}

// goMemory reads GOMEMLIMIT, by which Go keeps away from the limit of the container.
func goMemory(t *testing.T, env []corev1.EnvVar) int64 {
	t.Helper()
	for _, v := range env {
		if v.Name == "GOMEMLIMIT" {
			n, err := strconv.ParseInt(strings.TrimSuffix(v.Value, "MiB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 20
		}
	}
	return 0
}

// TestNothingElseIsApplied holds names to what ko apply -R takes: .yaml and .json in any folder, in
// order.
func TestNothingElseIsApplied(t *testing.T) {
	numbers := map[string]string{}
	for _, path := range files(t, ".yaml") {
		name := filepath.Base(path)
		number, rest, found := strings.Cut(name, "-")
		if filepath.Dir(path) != filepath.Join(folder, "base") || len(number) != 3 || !found || rest == "" {
			t.Errorf("%s: want NNN-name.yaml; what is not to be applied ends in .yml", path)
		}
		if other := numbers[number]; other != "" {
			t.Errorf("%s and %s have one number", other, name)
		}
		numbers[number] = name
	}
	if found, err := filepath.Glob(folder + "/*/*.json"); err != nil || len(found) > 0 {
		t.Errorf("got %q, %v", found, err)
	}
	for _, path := range files(t, ".yml") {
		if filepath.Base(filepath.Dir(path)) != "examples" {
			t.Errorf("%s is neither applied nor an example", path)
		}
	}
}
