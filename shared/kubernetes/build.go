package kubernetes

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// Labels and annotations of ours begin so; it is the domain of our events' types, turned around.
const domain = "go-job-orchestrator.github.io/"

// Names in the pod. People see them in kubectl.
const (
	agentContainer   = "agent"
	programContainer = "program"

	workspaceVolume = "workspace"
	agentVolume     = "agent"
	tempVolume      = "tmp"
	sharedVolume    = "shm"
	tokenVolume     = "token"
	dataVolume      = "data"
	secretsVolume   = "secrets"
	namedVolume     = "named-secret-" // and a number
)

// queueLabel is how Kueue is told which LocalQueue a Job waits in.
const queueLabel = "kueue.x-k8s.io/queue-name"

// build returns the Job of a job. Arguments and variables of the user's are not in it: Kubernetes
// would expand $(NAME) in them, and show them to whoever may see pods. The agent reads them from
// the job's index.
func (s *Settings) build(index *job.Index) *batchv1.Job {
	retries := int32(index.Retries) //nolint:gosec // 100 at most
	one, failed := int32(1), batchv1.Failed
	keep := int32(s.KeepFinished.Seconds())
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: index.JobName, Labels: jobLabels(index),
			Annotations: map[string]string{domain + "entrypoint": index.Entrypoint, domain +
				"created-at": index.CreatedAt.Format("2006-01-02T15:04:05.000Z07:00")},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: &retries, Completions: &one, Parallelism: &one, TTLSecondsAfterFinished: &keep,
			// An attempt begins when the one before has ended for sure.
			PodReplacementPolicy: &failed,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels: ownLabels(index),
					Annotations: map[string]string{
						"kubectl.kubernetes.io/default-container":        programContainer,
						"cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
					},
				},
				Spec: s.pod(index),
			},
		},
	}
	if index.Retries > 0 {
		j.Spec.PodFailurePolicy = retryPolicy(index)
	}
	if index.Name != "" {
		j.Annotations[domain+"name"] = index.Name
	}
	if index.TimeoutSeconds > 0 {
		j.Spec.ActiveDeadlineSeconds = &index.TimeoutSeconds
	}
	return j
}

// errNoProfile means that the job's profile does not exist.
var errNoProfile = errors.New("no such profile")

// buildWithProfile is build, with what the job's profile adds. The error is errNoProfile, or one of kind
// job.ErrInvalid.
func (s *Settings) buildWithProfile(index *job.Index) (*batchv1.Job, error) {
	if index.Profile == "" {
		return s.build(index), nil
	}
	p := s.profiles.Current().Find(index.Profile)
	if p == nil {
		return nil, errNoProfile
	}
	named := *index
	if named.Image == "" {
		named.Image = p.Kubernetes.Images[index.Runtime]
	}
	if named.Queue == "" {
		named.Queue = p.Kubernetes.Queue
	}
	j := s.build(&named)
	template, err := patched(&j.Spec.Template, p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", job.ErrInvalid, err)
	}
	j.Spec.Template = *template
	return j, nil
}

// ownLabels are those of Job and pod. The user's are not on the pod, where Services and policies of
// others could select by them.
func ownLabels(index *job.Index) map[string]string {
	labels := map[string]string{
		"app.kubernetes.io/name": "go-job-orchestrator", "app.kubernetes.io/component": "job",
		"app.kubernetes.io/managed-by": "go-job-orchestrator",
		domain + "job-id":              string(index.JobID), domain + "runtime": index.Runtime,
	}
	if index.Profile != "" {
		labels[domain+"profile"] = index.Profile
	}
	return labels
}

// jobLabels are the user's, as far as they are no domain's that Kubernetes keeps for itself and
// acts upon, and ours.
func jobLabels(index *job.Index) map[string]string {
	all := map[string]string{}
	for key, value := range index.Labels {
		if !isKubernetes(key) {
			all[key] = value
		}
	}
	maps.Copy(all, ownLabels(index))
	delete(all, queueLabel) // the field queue says which
	if index.Queue != "" {
		all[queueLabel] = index.Queue
	}
	return all
}

// isKubernetes reports whether a label is of the domains kubernetes.io and k8s.io, but for
// app.kubernetes.io, which is for everybody.
func isKubernetes(label string) bool {
	prefix, _, found := strings.Cut(label, "/")
	if !found || prefix == "app.kubernetes.io" {
		return false
	}
	prefix = "." + prefix
	return strings.HasSuffix(prefix, ".kubernetes.io") || strings.HasSuffix(prefix, ".k8s.io")
}

func (s *Settings) pod(index *job.Index) corev1.PodSpec {
	yes, no := true, false
	grace := int64(s.CollectTimeout.Seconds())
	spec := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: s.ServiceAccount,
		AutomountServiceAccountToken: &no, EnableServiceLinks: &no, TerminationGracePeriodSeconds: &grace,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &s.User, RunAsGroup: &s.User, FSGroup: &s.User,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		InitContainers: []corev1.Container{s.agent(index)},
		Containers:     []corev1.Container{s.program(index)},
		Volumes:        s.volumes(index),
	}
	if s.RuntimeClass != "" {
		spec.RuntimeClassName = &s.RuntimeClass
	}
	return spec
}

// agent is a native sidecar: it lives beside the program and outlives it. Kubernetes starts the
// program's container as soon as this one runs and its hook has ended, which leaves the agent's
// binary for it, so the files are fetched while that container is made. One that is made only after
// another has ended, or is ready, is made a second later: the kubelet looks for such changes once a
// second.
func (s *Settings) agent(index *job.Index) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	c := corev1.Container{
		Name: agentContainer, Image: s.AgentImage, Args: []string{"sidecar"}, RestartPolicy: &always,
		Env: s.environment(index),
		Lifecycle: &corev1.Lifecycle{
			PostStart: run(executor.PodAgentName, "install"),
			PreStop:   run(executor.PodAgentName, "prestop"),
		},
		SecurityContext: hardened(), Resources: agentResources(),
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		VolumeMounts: []corev1.VolumeMount{
			{Name: workspaceVolume, MountPath: executor.PodWorkDir},
			{Name: agentVolume, MountPath: executor.PodAgentDir},
			{Name: tokenVolume, MountPath: path.Dir(executor.PodTokenFile), ReadOnly: true},
		},
	}
	c.VolumeMounts = append(c.VolumeMounts, secretMounts(index)...)
	return c
}

// run is a hook that runs a command in its container.
func run(command ...string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: command}}
}

// program runs the user's code, under the agent and in the runtime's image.
func (s *Settings) program(index *job.Index) corev1.Container {
	const agent = executor.PodAgentDir + "/" + executor.PodAgentName
	c := corev1.Container{
		Name: programContainer, Image: s.image(&index.Spec),
		Command:         []string{agent, "exec"},
		Lifecycle:       &corev1.Lifecycle{PreStop: run(agent, "prestop")},
		SecurityContext: hardened(), Resources: resources(&index.Spec),
		VolumeMounts: []corev1.VolumeMount{
			{Name: workspaceVolume, MountPath: executor.PodWorkDir},
			{Name: agentVolume, MountPath: executor.PodAgentDir, ReadOnly: true},
			// The image does not know the user that its program runs as.
			{Name: agentVolume, MountPath: "/etc/passwd", SubPath: executor.PodPasswd, ReadOnly: true},
			{Name: agentVolume, MountPath: "/etc/group", SubPath: executor.PodGroup, ReadOnly: true},
			{Name: tempVolume, MountPath: "/tmp"},
			{Name: sharedVolume, MountPath: "/dev/shm"},
		},
	}
	if s.DataHostPath != "" {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: dataVolume, MountPath: "/data"})
	}
	if len(index.Secrets) > 0 {
		c.VolumeMounts = append(c.VolumeMounts, secretsMount())
	}
	return c
}

func (s *Settings) environment(index *job.Index) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "JOB_ID", Value: string(index.JobID)},
		{Name: "ORCH_BASE_URL", Value: s.ArtifactsURL},
		{Name: "POD_UID", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1",
			FieldPath: "metadata.uid"}}},
		{Name: "KILL_GRACE", Value: s.Grace.String()},
		{Name: "PATIENCE", Value: max(s.CollectTimeout, startPatience).String()},
		{Name: "MAX_OUTPUT_BYTES", Value: strconv.FormatInt(int64(s.MaxOutput), 10)},
		{Name: "MAX_LOG_BYTES", Value: strconv.FormatInt(int64(s.MaxLog), 10)},
		{Name: "MAX_OUTPUT_FILES", Value: strconv.FormatUint(uint64(s.MaxOutputFiles), 10)},
	}
}

// startPatience is how long a pod waits at least for the functions, which may have to start.
const startPatience = 5 * time.Minute

func (s *Settings) volumes(index *job.Index) []corev1.Volume {
	readable := int32(0o440)
	list := []corev1.Volume{
		{Name: workspaceVolume, VolumeSource: emptyDir(int64(s.Workspace))},
		{Name: agentVolume, VolumeSource: emptyDir(64 << 20)},
		{Name: tempVolume, VolumeSource: emptyDir(int64(s.Workspace))},
		{Name: sharedVolume, VolumeSource: sharedMemory(&index.Spec)},
		{Name: tokenVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: index.JobName,
			DefaultMode: &readable}}},
	}
	if s.DataHostPath != "" {
		list = append(list, corev1.Volume{Name: dataVolume,
			VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: s.DataHostPath}}})
	}
	return append(list, secretVolumes(index)...)
}

func emptyDir(bytes int64) corev1.VolumeSource {
	return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: resource.NewQuantity(bytes,
		resource.BinarySI)}}
}

// defaultShared is how much files in /dev/shm may hold where the job has no limit of memory, as on
// one machine.
const defaultShared = 64 << 20

// sharedMemory is what programs see as /dev/shm. What is in it counts towards the memory of their
// container.
func sharedMemory(spec *job.Spec) corev1.VolumeSource {
	bytes := int64(defaultShared)
	if limit := spec.MemoryBytes(); limit > 0 {
		bytes = limit
	}
	volume := emptyDir(bytes)
	volume.EmptyDir.Medium = corev1.StorageMediumMemory
	return volume
}

// hardened is what the restricted Pod Security Standard asks of a container, and a root that cannot
// be written.
func hardened() *corev1.SecurityContext {
	yes, no := true, false
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// resources are the user's quantities, as requests and as limits.
func resources(spec *job.Spec) corev1.ResourceRequirements {
	list := corev1.ResourceList{}
	if milli := spec.CPUMillis(); milli > 0 {
		list[corev1.ResourceCPU] = *resource.NewMilliQuantity(milli, resource.DecimalSI)
	}
	if bytes := spec.MemoryBytes(); bytes > 0 {
		list[corev1.ResourceMemory] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

// agentResources are what the agent needs beside any program. It streams, so no job needs more.
func agentResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"),
			corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}

// tokenSecret holds the token of a Job's pods. It goes with the Job.
func tokenSecret(owner *batchv1.Job, token string) *corev1.Secret {
	yes := true
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: owner.Name, Labels: owner.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job", Name: owner.Name, UID: owner.UID,
			}},
		},
		Immutable: &yes, Type: corev1.SecretTypeOpaque,
		StringData: map[string]string{path.Base(executor.PodTokenFile): token},
	}
}
