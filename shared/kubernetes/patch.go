package kubernetes

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"go-job-orchestrator/shared/profile"
)

// podPatch is what a profile may say about a pod template. What is not in these types belongs to the
// agent, to the security of the pod, or to the job.
type podPatch struct {
	Metadata *metadataPatch `json:"metadata,omitempty"`
	Spec     *specPatch     `json:"spec,omitempty"`
}

type metadataPatch struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type specPatch struct {
	NodeSelector              map[string]string                 `json:"nodeSelector,omitempty"`
	Tolerations               []corev1.Toleration               `json:"tolerations,omitempty"`
	Affinity                  *corev1.Affinity                  `json:"affinity,omitempty"`
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	PriorityClassName         string                            `json:"priorityClassName,omitempty"`
	RuntimeClassName          string                            `json:"runtimeClassName,omitempty"`
	SchedulerName             string                            `json:"schedulerName,omitempty"`
	ImagePullSecrets          []corev1.LocalObjectReference     `json:"imagePullSecrets,omitempty"`
	DNSPolicy                 corev1.DNSPolicy                  `json:"dnsPolicy,omitempty"`
	DNSConfig                 *corev1.PodDNSConfig              `json:"dnsConfig,omitempty"`
	ResourceClaims            []corev1.PodResourceClaim         `json:"resourceClaims,omitempty"`
	Volumes                   []corev1.Volume                   `json:"volumes,omitempty"`
	Containers                []containerPatch                  `json:"containers,omitempty"`
}

// containerPatch is what a profile may say about the program's container.
type containerPatch struct {
	Name         string                       `json:"name"`
	Resources    *corev1.ResourceRequirements `json:"resources,omitempty"`
	Env          []corev1.EnvVar              `json:"env,omitempty"`
	VolumeMounts []corev1.VolumeMount         `json:"volumeMounts,omitempty"`
}

// patched returns the pod template with the patch of a profile, which checkPod has found no fault in. It
// makes sure again that nothing has changed that a profile cannot change.
func patched(t *corev1.PodTemplateSpec, p *profile.Profile) (*corev1.PodTemplateSpec, error) {
	if !isSet(p.Kubernetes.Pod) {
		return t, nil
	}
	var typed podPatch
	if err := json.Unmarshal(p.Kubernetes.Pod, &typed); err != nil {
		return nil, fmt.Errorf("profile %s: %w", p.Name, err)
	}
	// The types are encoded again, so that the patch has no directives, and no null that would delete.
	patch, err := json.Marshal(typed)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", p.Name, err)
	}
	before, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode the pod template: %w", err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.PodTemplateSpec{})
	if err != nil {
		return nil, fmt.Errorf("profile %s: patch the pod template: %w", p.Name, err)
	}
	var out corev1.PodTemplateSpec
	if err := json.Unmarshal(after, &out); err != nil {
		return nil, fmt.Errorf("profile %s: decode the patched pod template: %w", p.Name, err)
	}
	if !equality.Semantic.DeepEqual(protected(&out, t), t) {
		return nil, fmt.Errorf("profile %s changes a part of the pod that no profile can change", p.Name)
	}
	return &out, nil
}

// protected returns a copy of a patched template in which all that profiles can change is again as it
// was. It must be equal to the template from before, t.
func protected(out, t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	c := out.DeepCopy()
	c.Labels = among(c.Labels, t.Labels)
	c.Annotations = among(c.Annotations, t.Annotations)
	s, from := &c.Spec, &t.Spec
	s.NodeSelector, s.Tolerations, s.Affinity = from.NodeSelector, from.Tolerations, from.Affinity
	s.TopologySpreadConstraints, s.PriorityClassName = from.TopologySpreadConstraints, from.PriorityClassName
	s.RuntimeClassName, s.SchedulerName = from.RuntimeClassName, from.SchedulerName
	s.ImagePullSecrets, s.ResourceClaims = from.ImagePullSecrets, from.ResourceClaims
	s.DNSPolicy, s.DNSConfig = from.DNSPolicy, from.DNSConfig
	s.Volumes = keep(s.Volumes, from.Volumes, func(v corev1.Volume) string { return v.Name })
	for i := range s.Containers {
		if i >= len(from.Containers) || s.Containers[i].Name != programContainer {
			continue // and is not equal
		}
		program, was := &s.Containers[i], &from.Containers[i]
		program.VolumeMounts = keep(program.VolumeMounts, was.VolumeMounts,
			func(m corev1.VolumeMount) string { return m.MountPath })
		program.Env = keep(program.Env, was.Env, func(e corev1.EnvVar) string { return e.Name })
		program.Resources.Claims = was.Resources.Claims
		program.Resources.Limits = own(program.Resources.Limits)
		program.Resources.Requests = own(program.Resources.Requests)
	}
	return c
}

// among returns the entries whose keys other has.
func among(all, other map[string]string) map[string]string {
	kept := map[string]string{}
	for key, value := range all {
		if _, found := other[key]; found {
			kept[key] = value
		}
	}
	return kept
}

// keep returns those elements of a list whose names other has, in the order of other.
func keep[T any](all, other []T, name func(T) string) []T {
	var kept []T
	for _, o := range other {
		for _, one := range all {
			if name(one) == name(o) {
				kept = append(kept, one)
			}
		}
	}
	return kept
}

// own returns the resources that a job asks for by fields of its own.
func own(list corev1.ResourceList) corev1.ResourceList {
	kept := corev1.ResourceList{}
	for name, quantity := range list {
		if ofJob(name) {
			kept[name] = quantity
		}
	}
	return kept
}

// ofJob reports whether a job asks for a resource by a field of its own.
func ofJob(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory
}
