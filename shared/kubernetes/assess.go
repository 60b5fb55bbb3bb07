package kubernetes

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// snapshot is what the cluster has of one job. The Job and the events are only asked for when the
// pods do not tell.
type snapshot struct {
	pods   []corev1.Pod
	job    *batchv1.Job // nil: not asked for, or there is none
	events []corev1.Event
}

// assessment is what a snapshot means.
type assessment struct {
	job.Observation
	// ended is how the last attempt ended, when it has and nobody recorded it.
	ended *job.Attempt
	// final tells that no other attempt will follow, and why.
	final *executor.Verdict
}

// suffices reports whether the pods alone tell: one is there that has not ended, and it is that of
// the attempt, if there is one.
func (s *snapshot) suffices(owner string) bool {
	p := s.newest()
	if p == nil || finished(p) {
		return false
	}
	return owner == "" || string(p.UID) == owner
}

func (s *snapshot) newest() *corev1.Pod {
	if len(s.pods) == 0 {
		return nil
	}
	p := slices.MaxFunc(s.pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return &p
}

func (s *snapshot) pod(uid string) *corev1.Pod {
	for i := range s.pods {
		if string(s.pods[i].UID) == uid {
			return &s.pods[i]
		}
	}
	return nil
}

// assess says what the snapshot means in terms of jobs. owner is the UID of the pod that makes an
// attempt which nobody recorded the end of, or empty; attempts is how many were begun.
func (s *snapshot) assess(owner string, attempts int) assessment {
	if s.suffices(owner) {
		return assessment{Observation: waiting(s.newest(), owner != "")}
	}
	f := assessment{}
	if owner != "" {
		p := s.pod(owner)
		if p != nil && !finished(p) { // a twin of it is newer, and waits for it
			return assessment{Observation: waiting(p, true)}
		}
		f.ended = s.endOf(p)
	}
	switch end := jobCondition(s.job); {
	case s.job == nil && attempts == 0 && len(s.pods) == 0:
		f.Lost = true // nothing was launched yet, or somebody deleted it before it began
	case s.job == nil && len(s.pods) == 0:
		f.final = &executor.Verdict{Over: true, Phase: job.Failed, Reason: job.ReasonInterrupted,
			Message: "its Kubernetes Job was deleted"}
	case end != nil:
		f.final = s.verdict(end)
	case s.job != nil && len(s.pods) == 0:
		f.Observation = s.withoutPod()
	}
	return f
}

// jobCondition returns the condition that says that a Job is over.
func jobCondition(j *batchv1.Job) *batchv1.JobCondition {
	if j == nil {
		return nil
	}
	for i, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobFailed || c.Type == batchv1.JobComplete) {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

// overdue reports whether a Job ends, or has ended, since its time was up. It says so before it
// deletes its pods.
func overdue(j *batchv1.Job) bool {
	if j == nil {
		return false
	}
	for _, c := range j.Status.Conditions {
		failed := c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget
		if failed && c.Status == corev1.ConditionTrue && c.Reason == batchv1.JobReasonDeadlineExceeded {
			return true
		}
	}
	return false
}

// verdict is the end of a job whose attempts alone do not say that it is over: its pods failed
// before their programs began, or Kubernetes counted more failures than there were attempts.
func (s *snapshot) verdict(end *batchv1.JobCondition) *executor.Verdict {
	v := &executor.Verdict{Over: true, Phase: job.Failed, Reason: job.ReasonStartFailed, Message: end.Message}
	switch {
	case end.Reason == batchv1.JobReasonDeadlineExceeded:
		v.Reason, v.Message = job.ReasonDeadlineExceeded, "the job did not end within its timeoutSeconds"
	case s.newest() != nil:
		a := endOf(s.newest())
		v.Reason, v.Message = a.Reason, a.Message
	}
	return v
}

// endOf says how the pod of an attempt ended, which may be gone.
func (s *snapshot) endOf(p *corev1.Pod) *job.Attempt {
	if overdue(s.job) {
		a := &job.Attempt{}
		if p != nil {
			a = endOf(p)
		}
		a.Reason, a.Message = job.ReasonDeadlineExceeded, "the job ran longer than its timeoutSeconds"
		return a
	}
	if p == nil {
		return &job.Attempt{Reason: job.ReasonInterrupted, Message: "its pod was deleted, or went with its node"}
	}
	return endOf(p)
}

// endOf says how a pod ended that makes no further progress.
func endOf(p *corev1.Pod) *job.Attempt {
	a := &job.Attempt{Reason: job.ReasonStartFailed, Message: p.Status.Message}
	if t := terminated(p, agentContainer); t != nil && t.ExitCode == executor.PodFetchFailed {
		a.Reason, a.Message = job.ReasonFetchFailed, withDetail("nothing was run", t.Message)
	} else if t := terminated(p, programContainer); t != nil {
		programEnd(a, t)
	}
	if a.Reason == job.ReasonOOMKilled {
		return a
	}
	if reason, message := evicted(p); reason != "" {
		a.Reason, a.Message = reason, message
	} else if p.DeletionTimestamp != nil {
		a.Reason, a.Message = job.ReasonInterrupted, "its pod was deleted"
	}
	return a
}

// programEnd says how the program's container ended, of which its agent has reported nothing.
func programEnd(a *job.Attempt, t *corev1.ContainerStateTerminated) {
	code := int(t.ExitCode)
	finished := t.FinishedAt.UTC()
	a.ExitCode, a.FinishedAt = &code, &finished
	if t.FinishedAt.IsZero() {
		a.FinishedAt = nil
	}
	if code > 128 {
		a.Signal = unix.SignalName(unix.Signal(code - 128))
	}
	switch {
	case t.Reason == "OOMKilled":
		a.Reason, a.Message = job.ReasonOOMKilled, "the program used more than its memory and was killed by the kernel"
	case t.Reason == "ContainerCannotRun", t.Reason == "StartError":
		a.Reason, a.Message, a.ExitCode = job.ReasonCannotRun, withDetail("the program's container could not be started",
			t.Message), nil
	case code == 0:
		a.Reason, a.Message = job.ReasonOutputsLost, "the program succeeded, but its outputs could not be stored"
	default:
		a.Reason, a.Message = job.ReasonError, fmt.Sprintf("the program exited with code %d, and its outputs could not be "+
			"stored", code)
	}
}

// evicted says for whose sake Kubernetes ended a pod, if it did.
func evicted(p *corev1.Pod) (job.Reason, string) {
	if p.Status.Reason != "" && p.Status.Phase == corev1.PodFailed && p.Status.Reason != "DeadlineExceeded" {
		return job.Reason(p.Status.Reason), withDetail("Kubernetes ended the pod", p.Status.Message)
	}
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.DisruptionTarget || c.Status != corev1.ConditionTrue {
			continue
		}
		reasons := map[string]job.Reason{
			corev1.PodReasonPreemptionByScheduler: job.ReasonPreempted, "DeletionByTaintManager": job.ReasonNodeLost,
			"DeletionByPodGC": job.ReasonNodeLost,
		}
		reason, known := reasons[c.Reason]
		if !known {
			reason = job.ReasonEvicted
		}
		return reason, withDetail("Kubernetes ended the pod", c.Message)
	}
	return "", ""
}

// withoutPod says why a Job has no pod.
func (s *snapshot) withoutPod() job.Observation {
	o := job.Observation{Reason: job.ReasonStarting, Message: "its pod is being made", Since: s.job.CreationTimestamp.Time}
	if s.job.Spec.Suspend != nil && *s.job.Spec.Suspend {
		o.Reason, o.Message = job.ReasonSuspended, "waiting for its queue to admit it"
		return o
	}
	last := time.Time{}
	for _, e := range s.events {
		at := e.LastTimestamp.Time
		if at.IsZero() {
			at = e.EventTime.Time
		}
		if e.Reason != "FailedCreate" || at.Before(last) {
			continue
		}
		last = at
		o.Reason, o.Message, o.Stuck = job.ReasonFailedCreate, withDetail("its pod cannot be made", e.Message), true
		if strings.Contains(e.Message, "exceeded quota") {
			o.Reason = job.ReasonQuotaExceeded
		}
	}
	return o
}
