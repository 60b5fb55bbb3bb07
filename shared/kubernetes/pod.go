package kubernetes

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"go-job-orchestrator/shared/job"
)

// waiting says what a pod is at that has not ended. begun tells whether it makes an attempt: its
// program's container may run before.
func waiting(p *corev1.Pod, begun bool) job.Observation {
	o := job.Observation{Since: p.CreationTimestamp.Time}
	if c := status(p, programContainer); begun && c != nil && c.State.Running != nil {
		return running(p, o)
	}
	if terminated(p, programContainer) != nil {
		o.Message = "the program has ended; its outputs are being stored"
		return o
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			o.Reason, o.Message, o.Stuck = job.Reason(c.Reason), withDetail("no node can take the job", c.Message), true
			return o
		}
	}
	o.Reason, o.Message = job.ReasonStarting, "the image is being pulled and the files are being fetched"
	for _, name := range []string{agentContainer, programContainer} {
		c := status(p, name)
		if c == nil || c.State.Waiting == nil {
			continue
		}
		if reason, message := stuck(c); reason != "" {
			o.Reason, o.Message, o.Stuck = reason, message, true
			return o
		}
	}
	return o
}

// running looks at whether a running program can still be heard of.
func running(p *corev1.Pod, o job.Observation) job.Observation {
	if p.DeletionTimestamp != nil {
		o.Message = "the program is being stopped"
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue && c.Reason == "NodeNotReady" ||
			p.Status.Reason == "NodeLost" {
			o.Reason, o.Message = job.ReasonNodeLost, "the node does not answer; the program may still run there"
		}
	}
	return o
}

// stuck says why a container does not start, when that is more than that it has not yet.
func stuck(c *corev1.ContainerStatus) (job.Reason, string) {
	w := c.State.Waiting
	switch w.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return "", ""
	case "ErrImagePull", "ImagePullBackOff": // Kubernetes goes to and fro between the two
		return job.ReasonPullBackOff, withDetail(fmt.Sprintf("the image %s cannot be pulled", c.Image), w.Message)
	}
	return job.Reason(w.Reason), withDetail(fmt.Sprintf("the container %s cannot start", c.Name), w.Message)
}

func status(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func terminated(p *corev1.Pod, name string) *corev1.ContainerStateTerminated {
	if c := status(p, name); c != nil {
		return c.State.Terminated
	}
	return nil
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// maxDetail bounds a message of Kubernetes', some of which hold another's whole output.
const maxDetail = 2000

func withDetail(ours, theirs string) string {
	theirs = strings.TrimSpace(theirs)
	if theirs == "" {
		return ours
	}
	if len(theirs) > maxDetail {
		theirs = strings.ToValidUTF8(theirs[:maxDetail], "") + "…"
	}
	return ours + ": " + theirs
}
