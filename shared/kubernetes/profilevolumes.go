package kubernetes

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"go-job-orchestrator/shared/job"
)

// orchestratorSecrets are the Secrets of config/ that no program may read: the keys of tokens and of
// callers, and the credentials of the bucket.
func orchestratorSecrets() []string { return []string{"bucket-credentials", KeysSecret, "token-keys"} }

// storageClaim is the volume of config/ in which all jobs are stored.
const storageClaim = "data"

// secretFault says why a profile cannot give a Secret to programs, or returns "".
func secretFault(name string) string {
	if slices.Contains(orchestratorSecrets(), name) {
		return fmt.Sprintf("the Secret %s is the orchestrator's own, and no program may read it", name)
	}
	if _, err := job.ParseID(strings.TrimPrefix(name, "run-")); err == nil {
		return fmt.Sprintf("the Secret %s has the token of a job, and no program may read it", name)
	}
	return ""
}

func (c *podCheck) checkVolumes(s *specPatch) {
	seen := map[string]bool{}
	for i := range s.Volumes {
		v := &s.Volumes[i]
		field := fmt.Sprintf("spec.volumes[%d]", i)
		c.all(field+".name", validation.IsDNS1123Label(v.Name))
		if seen[v.Name] {
			c.wrong(field+".name", fmt.Sprintf("two volumes are named %q", v.Name))
		}
		seen[v.Name] = true
		if slices.ContainsFunc(c.sample.Spec.Volumes, func(own corev1.Volume) bool { return own.Name == v.Name }) {
			c.wrong(field+".name", fmt.Sprintf("%q is a volume of every job's pod; choose another name", v.Name))
		}
		c.checkSource(field, &v.VolumeSource)
	}
}

// checkSource admits the kinds of volumes that the restricted Pod Security Standard admits.
func (c *podCheck) checkSource(field string, v *corev1.VolumeSource) {
	rest := *v
	kinds := 0
	has := func(present bool) bool {
		if present {
			kinds++
		}
		return present
	}
	if has(v.ConfigMap != nil) {
		rest.ConfigMap = nil
	}
	if has(v.EmptyDir != nil) {
		rest.EmptyDir = nil
	}
	if has(v.DownwardAPI != nil) {
		rest.DownwardAPI = nil
	}
	if has(v.Ephemeral != nil) {
		rest.Ephemeral = nil
	}
	if has(v.Secret != nil) {
		rest.Secret = nil
		c.wrong(field+".secret.secretName", secretFault(v.Secret.SecretName))
	}
	if has(v.PersistentVolumeClaim != nil) {
		rest.PersistentVolumeClaim = nil
		if v.PersistentVolumeClaim.ClaimName == storageClaim {
			c.wrong(field+".persistentVolumeClaim.claimName", fmt.Sprintf(
				"%s has the files of all jobs, and no program may read it", storageClaim))
		}
	}
	if has(v.CSI != nil) {
		rest.CSI = nil
		if ref := v.CSI.NodePublishSecretRef; ref != nil {
			c.wrong(field+".csi.nodePublishSecretRef.name", secretFault(ref.Name))
		}
	}
	if has(v.Projected != nil) {
		rest.Projected = nil
		for i, source := range v.Projected.Sources {
			c.checkProjection(fmt.Sprintf("%s.projected.sources[%d]", field, i), source)
		}
	}
	const kindsAllowed = "configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected or secret"
	switch {
	case rest.HostPath != nil:
		c.wrong(field+".hostPath", "programs stay apart from the files of their node; mount a persistentVolumeClaim")
	case rest != corev1.VolumeSource{}:
		c.wrong(field, "is of a kind that a profile cannot mount; it can be "+kindsAllowed)
	case kinds != 1:
		c.wrong(field, "must be exactly one of "+kindsAllowed)
	}
}

func (c *podCheck) checkProjection(field string, p corev1.VolumeProjection) {
	if p.ServiceAccountToken != nil || p.PodCertificate != nil {
		c.wrong(field, "programs get no identity in the cluster; leave it out")
	}
	if p.Secret != nil {
		c.wrong(field+".secret.name", secretFault(p.Secret.Name))
	}
}

// checkContainer checks what the patch says about one container.
func (c *podCheck) checkContainer(field string, i int, s *specPatch) {
	p := &s.Containers[i]
	switch {
	case p.Name != programContainer:
		c.wrong(field+".name", fmt.Sprintf("must be %s, the container of the job's program; a profile can change no other",
			programContainer))
	case i > 0:
		c.wrong(field+".name", "there is "+programContainer+" already")
	}
	if p.Resources != nil {
		c.checkResources(field+".resources", p.Resources, s)
	}
	c.checkEnv(field+".env", p.Env)
	c.checkMounts(field+".volumeMounts", p.VolumeMounts, s)
}

// maxAmount bounds amounts of resources. The parser of quantities reads some that are larger as 0.
const maxAmount = 1 << 50

func (c *podCheck) checkResources(field string, r *corev1.ResourceRequirements, s *specPatch) {
	for kind, list := range map[string]corev1.ResourceList{"limits": r.Limits, "requests": r.Requests} {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			at := fmt.Sprintf("%s.%s[%q]", field, kind, name)
			amount := list[name]
			switch {
			case ofJob(name):
				c.wrong(at, fmt.Sprintf("jobs ask for %s themselves; set defaults.%s and max.%s of the profile", name, name, name))
				continue
			case amount.Sign() <= 0 || amount.CmpInt64(maxAmount) > 0:
				c.wrong(at, "must be more than 0, and at most 1Pi")
			}
			c.all(at, validation.IsQualifiedName(string(name)))
			if extended := strings.Contains(string(name), "/"); !extended && name != corev1.ResourceEphemeralStorage &&
				!strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				c.wrong(at, "is not a resource of containers, such as nvidia.com/gpu, hugepages-2Mi or ephemeral-storage")
			} else if limit, found := r.Limits[name]; extended && kind == "requests" && (!found || limit.Cmp(amount) != 0) {
				c.wrong(at, "must be equal to its limit")
			}
		}
	}
	for i, claim := range r.Claims {
		if !slices.ContainsFunc(s.ResourceClaims, func(k corev1.PodResourceClaim) bool { return k.Name == claim.Name }) {
			c.wrong(fmt.Sprintf("%s.claims[%d].name", field, i), "is not in spec.resourceClaims")
		}
	}
}

// agentVariables are read by the Go runtime of the agent, which runs in the program's container too.
func agentVariables() []string {
	return []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK"}
}

func (c *podCheck) checkEnv(field string, list []corev1.EnvVar) {
	seen := map[string]bool{}
	for i, e := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		c.wrong(at, job.CheckVariable(e.Name, e.Value))
		if seen[e.Name] {
			c.wrong(at+".name", fmt.Sprintf("%q is there twice", e.Name))
		}
		seen[e.Name] = true
		if slices.Contains(agentVariables(), e.Name) {
			c.wrong(at+".name", e.Name+" would change the agent, which runs in this container too; jobs can set it themselves")
		}
		if strings.HasPrefix(e.Name, "KUBERNETES_") {
			c.wrong(at+".name", "programs get no variables that begin with KUBERNETES_; choose another name")
		}
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.SecretKeyRef; ref != nil {
			c.wrong(at+".valueFrom.secretKeyRef.name", secretFault(ref.Name))
		}
		if e.Value != "" {
			c.wrong(at, "has both value and valueFrom; leave one out")
		}
	}
}

func (c *podCheck) checkMounts(field string, list []corev1.VolumeMount, s *specPatch) {
	var seen []string
	for i, m := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !slices.ContainsFunc(s.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
			c.wrong(at+".name", fmt.Sprintf("%q is not a volume of the profile; add it to spec.volumes", m.Name))
		}
		if !path.IsAbs(m.MountPath) || path.Clean(m.MountPath) != m.MountPath || strings.ContainsAny(m.MountPath, ":\x00") {
			c.wrong(at+".mountPath", fmt.Sprintf("%.100q is not an absolute path without . and .. and :", m.MountPath))
			continue
		}
		if slices.Contains(seen, m.MountPath) {
			c.wrong(at+".mountPath", "two volumes are mounted there")
		}
		seen = append(seen, m.MountPath)
		if taken := c.overlapped(m.MountPath); taken != "" {
			c.wrong(at+".mountPath", fmt.Sprintf("%s overlaps with %s, which every job has; choose another folder", m.MountPath,
				taken))
		}
		if p := m.MountPropagation; p != nil && *p == corev1.MountPropagationBidirectional {
			c.wrong(at+".mountPropagation", "Bidirectional needs a privileged container")
		}
	}
}

// overlapped returns the folder of every job's container that a path lies in, or has in it; "" for none.
func (c *podCheck) overlapped(folder string) string {
	taken := []string{"/proc", "/sys"}
	for _, container := range c.sample.Spec.Containers {
		for _, m := range container.VolumeMounts {
			taken = append(taken, m.MountPath)
		}
	}
	for _, one := range taken {
		if within(folder, one) || within(one, folder) {
			return one
		}
	}
	return ""
}

// within reports whether a clean path lies in a folder, or is the folder.
func within(file, folder string) bool {
	return file == folder || folder == "/" || strings.HasPrefix(file, folder+"/")
}
