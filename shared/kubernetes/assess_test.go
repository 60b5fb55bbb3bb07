package kubernetes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"go-job-orchestrator/shared/job"
)

func made(uid string, phase corev1.PodPhase, change ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), CreationTimestamp: metav1.Unix(int64(len(uid)), 0)}}
	p.Status.Phase = phase
	for _, f := range change {
		f(&p)
	}
	return p
}

func state(name string, s corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		list := &p.Status.InitContainerStatuses
		if name == programContainer {
			list = &p.Status.ContainerStatuses
		}
		*list = append(*list, corev1.ContainerStatus{Name: name, Image: "some/image:1", State: s})
	}
}

func waits(name, reason, message string) func(*corev1.Pod) {
	return state(name, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
}

func ends(name string, code int32, reason, message string) func(*corev1.Pod) {
	return state(name, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason,
		Message: message, FinishedAt: metav1.Unix(99, 0)}})
}

func runs(p *corev1.Pod) {
	state(programContainer, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})(p)
}

func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: status, Reason: reason,
			Message: message})
	}
}

func deleted(p *corev1.Pod) { now := metav1.Unix(100, 0); p.DeletionTimestamp = &now }

func reason(r, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Reason, p.Status.Message = r, message }
}

func kubeJob(kind batchv1.JobConditionType, reason, message string) *batchv1.Job {
	j := &batchv1.Job{}
	if kind != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: "SuccessCriteriaMet", Status: "True"},
			{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message}}
	}
	return j
}

func failedCreate(message string, at int64) corev1.Event {
	return corev1.Event{Reason: "FailedCreate", Message: message, LastTimestamp: metav1.Unix(at, 0)}
}

func TestTranslate(t *testing.T) {
	yes := true
	tests := []struct {
		name     string
		s        snapshot
		owner    string
		attempts int
		reason   job.Reason // of the observation
		stuck    bool
		lost     bool
		ended    job.Reason
		code     int // of the attempt that ended, -1 for none
		final    job.Reason
	}{
		{name: "nothing", lost: true},
		{name: "job without pod", s: snapshot{job: kubeJob("", "", "")}, reason: job.ReasonStarting},
		{name: "suspended", s: snapshot{job: &batchv1.Job{Spec: batchv1.JobSpec{Suspend: &yes}}},
			reason: job.ReasonSuspended},
		{name: "quota", s: snapshot{job: kubeJob("", "", ""),
			events: []corev1.Event{{Reason: "Other"}, failedCreate("exceeded quota: q", 1)}}, reason: job.ReasonQuotaExceeded,
			stuck: true},
		{name: "refused by now", s: snapshot{job: kubeJob("", "", ""),
			events: []corev1.Event{failedCreate("violates PodSecurity", 2), failedCreate("exceeded quota", 1)}},
			reason: job.ReasonFailedCreate, stuck: true},
		{name: "unschedulable",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodPending, condition(corev1.PodScheduled, corev1.ConditionFalse,
				"Unschedulable", "0/1 nodes"))}}, reason: job.ReasonUnschedulable, stuck: true},
		{name: "gated",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodPending, condition(corev1.PodScheduled, corev1.ConditionFalse,
				"SchedulingGated", ""))}}, reason: "SchedulingGated", stuck: true},
		{name: "fetching",
			s:      snapshot{pods: []corev1.Pod{made("a", corev1.PodPending, waits(programContainer, "PodInitializing", ""))}},
			reason: job.ReasonStarting},
		{name: "fetching beside the program's container",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, runs)}}, reason: job.ReasonStarting},
		{name: "running", s: snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, runs)}}, owner: "a", attempts: 1},
		{name: "agent ends again and again",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, waits(agentContainer, "CrashLoopBackOff", "x"),
				runs)}}, reason: "CrashLoopBackOff", stuck: true},
		{name: "pull",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodPending,
				waits(programContainer, "ErrImagePull", "not found"))}}, reason: job.ReasonPullBackOff, stuck: true},
		{name: "pull again",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodPending,
				waits(programContainer, "ImagePullBackOff", "not found"))}}, reason: job.ReasonPullBackOff, stuck: true},
		{name: "agent's image",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodPending, waits(agentContainer, "ErrImagePull", "x"),
				waits(programContainer, "PodInitializing", ""))}}, reason: job.ReasonPullBackOff, stuck: true},
		{name: "name",
			s:      snapshot{pods: []corev1.Pod{made("a", corev1.PodPending, waits(programContainer, "InvalidImageName", "x"))}},
			reason: "InvalidImageName", stuck: true},
		{name: "config",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodPending, waits(programContainer, "CreateContainerConfigError",
				"x"))}}, reason: "CreateContainerConfigError", stuck: true},
		{name: "running", s: snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, runs)}}, owner: "a", attempts: 1},
		{name: "collecting",
			s:     snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, ends(programContainer, 0, "Completed", ""))}},
			owner: "a", attempts: 1},
		{name: "node away",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, runs, condition(corev1.PodReady, corev1.ConditionFalse,
				"NodeNotReady", ""))}}, owner: "a", attempts: 1, reason: job.ReasonNodeLost},
		{name: "being stopped", s: snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, runs, deleted)}}, owner: "a",
			attempts: 1},
		{name: "twin waits", s: snapshot{pods: []corev1.Pod{made("a", corev1.PodRunning, runs),
			made("bb", corev1.PodPending)}}, owner: "a", attempts: 1},
		{name: "the newest waits", s: snapshot{pods: []corev1.Pod{made("bb", corev1.PodPending,
			waits(programContainer, "ErrImagePull", "not found")), made("a", corev1.PodFailed)}},
			reason: job.ReasonPullBackOff, stuck: true},
		{name: "oom",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(programContainer, 137, "OOMKilled", ""))},
				job: kubeJob("", "", "")}, owner: "a", attempts: 1, ended: job.ReasonOOMKilled, code: 137},
		{name: "oom and no retry",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(programContainer, 137, "OOMKilled", ""))},
				job: kubeJob(batchv1.JobFailed, "BackoffLimitExceeded", "")}, owner: "a", attempts: 1, ended: job.ReasonOOMKilled,
			code: 137, final: job.ReasonOOMKilled},
		{name: "evicted",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, reason("Evicted", "disk"),
				ends(programContainer, 137, "Error", ""))}, job: kubeJob("", "", "")}, owner: "a", attempts: 1,
			ended: job.ReasonEvicted, code: 137},
		{name: "preempted",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, condition(corev1.DisruptionTarget, corev1.ConditionTrue,
				"PreemptionByScheduler", ""), ends(programContainer, 143, "Error", ""))}}, owner: "a", attempts: 1,
			ended: "Preempted", code: 143, final: ""},
		{name: "drained",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, condition(corev1.DisruptionTarget, corev1.ConditionTrue,
				"EvictionByEvictionAPI", ""))}}, owner: "a", attempts: 1, ended: job.ReasonEvicted, code: -1},
		{name: "taint",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, condition(corev1.DisruptionTarget, corev1.ConditionTrue,
				"DeletionByTaintManager", ""))}}, owner: "a", attempts: 1, ended: job.ReasonNodeLost, code: -1},
		{name: "pod gone", s: snapshot{job: kubeJob(batchv1.JobFailed, "BackoffLimitExceeded", "x")}, owner: "a",
			attempts: 1, ended: job.ReasonInterrupted, code: -1, final: job.ReasonStartFailed},
		{name: "pod gone, another comes", s: snapshot{pods: []corev1.Pod{made("bb", corev1.PodPending)},
			job: kubeJob("", "", "")}, owner: "a", attempts: 1, ended: job.ReasonInterrupted, code: -1},
		{name: "everything gone", owner: "a", attempts: 1, ended: job.ReasonInterrupted, code: -1,
			final: job.ReasonInterrupted},
		{name: "gone between attempts", attempts: 1, final: job.ReasonInterrupted},
		{name: "deadline", s: snapshot{job: kubeJob(batchv1.JobFailed, "DeadlineExceeded", "x")}, owner: "a", attempts: 1,
			ended: job.ReasonDeadlineExceeded, code: -1, final: job.ReasonDeadlineExceeded},
		{name: "deadline, pod gone first", s: snapshot{job: kubeJob(batchv1.JobFailureTarget, "DeadlineExceeded", "x")},
			owner: "a", attempts: 1, reason: job.ReasonStarting, ended: job.ReasonDeadlineExceeded, code: -1},
		{name: "deadline before it began", s: snapshot{job: kubeJob(batchv1.JobFailed, "DeadlineExceeded", "x")},
			final: job.ReasonDeadlineExceeded},
		{name: "fetch failed",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(agentContainer, 69, "Error", "no route"))},
				job: kubeJob(batchv1.JobFailed, "BackoffLimitExceeded", "x")}, final: job.ReasonFetchFailed},
		{name: "fetch failed once",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(agentContainer, 69, "Error", "no route"))},
				job: kubeJob("", "", "")}},
		{name: "fetch failed and told",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(agentContainer, 69, "Error", "no route"),
				ends(programContainer, 70, "Error", "x"))}, job: kubeJob(batchv1.JobFailed, "BackoffLimitExceeded", "x")},
			final: job.ReasonFetchFailed},
		{name: "a program with the code of a failed fetch",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(agentContainer, 0, "Completed", ""),
				ends(programContainer, 69, "Error", ""))}, job: kubeJob("", "", "")}, owner: "a", attempts: 1,
			ended: job.ReasonError, code: 69},
		{name: "cannot start",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed,
				ends(programContainer, 128, "StartError", "exec format"))}, job: kubeJob(batchv1.JobFailed, "BackoffLimitExceeded",
				"")}, final: job.ReasonCannotRun},
		{name: "outputs lost",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodSucceeded, ends(programContainer, 0, "Completed", ""))},
				job: kubeJob(batchv1.JobComplete, "", "")}, owner: "a", attempts: 1, ended: job.ReasonOutputsLost, code: 0,
			final: job.ReasonOutputsLost},
		{name: "unreported",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(programContainer, 3, "Error", ""))},
				job: kubeJob("", "", "")}, owner: "a", attempts: 1, ended: job.ReasonError, code: 3},
		{name: "deleted and ended",
			s: snapshot{pods: []corev1.Pod{made("a", corev1.PodFailed, ends(programContainer, 143, "Error", ""), deleted)},
				job: kubeJob("", "", "")}, owner: "a", attempts: 1, ended: job.ReasonInterrupted, code: 143},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.s.assess(test.owner, test.attempts)
			var ended, final job.Reason
			code := -1
			if got.ended != nil {
				ended = got.ended.Reason
				if got.ended.ExitCode != nil {
					code = *got.ended.ExitCode
				}
			}
			if got.final != nil {
				final = got.final.Reason
			}
			if test.ended == "" {
				code = test.code
			} else if signal := map[int]string{137: "SIGKILL", 143: "SIGTERM"}[code]; got.ended.Signal != signal {
				t.Errorf("ended by the signal %q, want %q", got.ended.Signal, signal)
			}
			want := []any{test.reason, test.stuck, test.lost, test.ended, test.code, test.final}
			if diff := cmp.Diff(want, []any{got.Reason, got.Stuck, got.Lost, ended, code, final}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A message of a container's can be long, and is the user's to read.
func TestWords(t *testing.T) {
	got := withDetail("ours", string(make([]byte, 3000)))
	if len(got) > 2100 {
		t.Errorf("%d bytes", len(got))
	}
	if withDetail("ours", " ") != "ours" || withDetail("a", "b\n") != "a: b" {
		t.Error("wrong words")
	}
}
