package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
)

// checkProfiles finds what is wrong with the pods of profiles. Package profile knows the rest.
func (s *Settings) checkProfiles(set *profile.Set) []job.Fault {
	// All jobs have the same names of volumes and folders.
	sample := s.build(&job.Index{JobID: "sample", JobName: "sample"}).Spec.Template
	var list []job.Fault
	for _, p := range set.All() {
		if isSet(p.Kubernetes.Pod) {
			list = append(list, checkPod("profiles."+p.Name+".kubernetes.pod", p.Kubernetes.Pod, &sample)...)
		}
	}
	return list
}

func isSet(section []byte) bool {
	return len(section) > 0 && !bytes.Equal(bytes.TrimSpace(section), []byte("null"))
}

// podCheck collects the faults of a patch of the pod.
type podCheck struct {
	at     string
	sample *corev1.PodTemplateSpec // without a profile
	list   []job.Fault
}

// wrong adds a fault, unless the message is empty.
func (c *podCheck) wrong(field, message string) {
	if message != "" {
		c.list = append(c.list, job.Fault{Field: profile.Join(c.at, field), Message: message})
	}
}

// all adds a fault with each of the messages.
func (c *podCheck) all(field string, messages []string) {
	for _, m := range messages {
		c.wrong(field, m)
	}
}

// checkPod returns the faults of a patch of the pod template, given a template without it.
func checkPod(at string, patch []byte, sample *corev1.PodTemplateSpec) []job.Fault {
	c := &podCheck{at: at, sample: sample}
	c.checkValues(patch)
	var typed podPatch
	c.list = append(c.list, c.decode(patch, &typed)...)
	if m := typed.Metadata; m != nil {
		c.checkMetadata(m)
	}
	if s := typed.Spec; s != nil {
		c.checkSpec(s)
		c.checkVolumes(s)
		for i := range s.Containers {
			c.checkContainer(fmt.Sprintf("spec.containers[%d]", i), i, s)
		}
	}
	return c.list
}

// decode decodes a patch strictly. It tells fields that Kubernetes does not have from those that a
// profile cannot set.
func (c *podCheck) decode(patch []byte, into *podPatch) []job.Fault {
	list := profile.Decode(c.at, patch, into)
	unknown := map[string]bool{}
	for _, f := range profile.Decode(c.at, patch, &corev1.PodTemplateSpec{}) {
		unknown[f.Field] = true
	}
	for i, f := range list {
		if f.Message == profile.Unknown && !unknown[f.Field] {
			list[i].Message = "a profile cannot set it; " + whyNot(strings.TrimPrefix(f.Field, c.at+"."))
		}
	}
	return list
}

// whyNot says why a profile cannot set a field of the pod.
func whyNot(field string) string {
	name := field[strings.LastIndex(field, ".")+1:]
	switch name {
	case "securityContext":
		return "the security context is the same for all jobs"
	case "initContainers", "ephemeralContainers", "lifecycle", "shareProcessNamespace", "hostAliases":
		return "the pod's other container, the agent, depends on it"
	case "hostNetwork", "hostPID", "hostIPC", "hostUsers", "ports", "hostname", "setHostnameAsFQDN", "subdomain":
		return "programs stay apart from their node and its network"
	case "serviceAccountName", "serviceAccount", "automountServiceAccountToken":
		return "JOB_SERVICE_ACCOUNT is for all jobs, and they get no token of it"
	case "image":
		return "set kubernetes.images, by runtime"
	case "command", "args", "workingDir":
		return "the agent runs the job's own program"
	case "envFrom":
		return "list the variables in env"
	case "restartPolicy", "activeDeadlineSeconds", "terminationGracePeriodSeconds":
		return "it follows from retries, timeoutSeconds and the settings"
	}
	return "these can be set: " + strings.Join(settable(field), ", ")
}

// settable lists what can be set beside a field.
func settable(field string) []string {
	switch {
	case strings.HasPrefix(field, "spec.containers["):
		return []string{"env", "resources", "volumeMounts"}
	case strings.HasPrefix(field, "spec."):
		return []string{"affinity", "containers", "dnsConfig", "dnsPolicy", "imagePullSecrets", "nodeSelector",
			"priorityClassName", "resourceClaims", "runtimeClassName", "schedulerName", "tolerations",
			"topologySpreadConstraints", "volumes"}
	case strings.HasPrefix(field, "metadata."):
		return []string{"annotations", "labels"}
	}
	return []string{"metadata", "spec"}
}

// checkValues finds what has a meaning of its own in a patch: directives, which begin with $, and null,
// which deletes.
func (c *podCheck) checkValues(patch []byte) {
	var value any
	if err := json.Unmarshal(patch, &value); err != nil {
		return // decode says it
	}
	c.walk("", value)
}

func (c *podCheck) walk(at string, value any) {
	switch v := value.(type) {
	case nil:
		c.wrong(at, "is null, which would delete it; leave it out")
	case []any:
		for i, one := range v {
			c.walk(fmt.Sprintf("%s[%d]", at, i), one)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if strings.HasPrefix(key, "$") {
				c.wrong(profile.Join(at, key), "directives are not taken; a profile only adds to the pod")
				continue
			}
			c.walk(profile.Join(at, key), v[key])
		}
	}
}

// securityAnnotations are the annotations by which pods got security profiles before there were fields.
func securityAnnotations() []string {
	return []string{"container.apparmor.security.beta.kubernetes.io/", "container.seccomp.security.alpha.kubernetes.io/",
		"seccomp.security.alpha.kubernetes.io/"}
}

func (c *podCheck) checkMetadata(m *metadataPatch) {
	for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
		field := fmt.Sprintf("metadata.labels[%q]", key)
		c.all(field, validation.IsQualifiedName(key))
		c.all(field, validation.IsValidLabelValue(m.Labels[key]))
		c.wrong(field, c.reserved(key, c.sample.Labels))
	}
	for _, key := range slices.Sorted(maps.Keys(m.Annotations)) {
		field := fmt.Sprintf("metadata.annotations[%q]", key)
		c.all(field, validation.IsQualifiedName(strings.ToLower(key)))
		c.wrong(field, c.reserved(key, c.sample.Annotations))
		for _, prefix := range securityAnnotations() {
			if strings.HasPrefix(key, prefix) {
				c.wrong(field, "the security context is the same for all jobs")
			}
		}
	}
}

// reserved says why a profile cannot set a label or annotation, given those that the server sets.
func (c *podCheck) reserved(key string, own map[string]string) string {
	_, found := own[key]
	prefix, _, _ := strings.Cut(key, "/")
	switch {
	case found, strings.HasPrefix(key, domain):
		return "is set by the orchestrator; choose another name"
	case prefix == "batch.kubernetes.io", prefix == "kueue.x-k8s.io", key == "job-name", key == "controller-uid":
		return "is set by Kubernetes and Kueue; choose another name"
	}
	return ""
}

func (c *podCheck) checkSpec(s *specPatch) {
	for _, key := range slices.Sorted(maps.Keys(s.NodeSelector)) {
		field := fmt.Sprintf("spec.nodeSelector[%q]", key)
		c.all(field, validation.IsQualifiedName(key))
		c.all(field, validation.IsValidLabelValue(s.NodeSelector[key]))
	}
	for i, t := range s.Tolerations {
		c.checkToleration(fmt.Sprintf("spec.tolerations[%d]", i), t)
	}
	for field, name := range map[string]string{
		"spec.priorityClassName": s.PriorityClassName, "spec.runtimeClassName": s.RuntimeClassName,
		"spec.schedulerName": s.SchedulerName,
	} {
		if name != "" {
			c.all(field, validation.IsDNS1123Subdomain(name))
		}
	}
	for i, secret := range s.ImagePullSecrets {
		c.all(fmt.Sprintf("spec.imagePullSecrets[%d].name", i), validation.IsDNS1123Subdomain(secret.Name))
	}
	switch s.DNSPolicy {
	case "", corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone:
	default:
		c.wrong("spec.dnsPolicy", "must be ClusterFirst, Default or None")
	}
	for i, claim := range s.ResourceClaims {
		c.all(fmt.Sprintf("spec.resourceClaims[%d].name", i), validation.IsDNS1123Label(claim.Name))
	}
}

func (c *podCheck) checkToleration(field string, t corev1.Toleration) {
	if t.Key != "" {
		c.all(field+".key", validation.IsQualifiedName(t.Key))
	}
	switch t.Operator {
	case "", corev1.TolerationOpEqual:
		if t.Key == "" {
			c.wrong(field+".key", "is required, unless the operator is Exists")
		}
	case corev1.TolerationOpExists:
		if t.Value != "" {
			c.wrong(field+".value", "must be empty if the operator is Exists")
		}
	default:
		c.wrong(field+".operator", "must be Equal or Exists")
	}
	switch t.Effect {
	case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		c.wrong(field+".effect", "must be NoSchedule, PreferNoSchedule or NoExecute")
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		c.wrong(field+".tolerationSeconds", "needs the effect NoExecute")
	}
}
