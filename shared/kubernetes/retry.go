package kubernetes

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// killed is the exit code of a container that the kernel has killed.
const killed = 128 + 9

// retryPolicy has Kubernetes try again when job.Index.MayRetry says so. The first rule that matches
// a failed pod counts.
//
// The agent knows how the program ended and decides by MayRetry itself, so its exit code comes
// first. The other rules are for pods whose agent could not tell. They may only end a Job that would
// not be retried for any reason that such an end can have, since a Job that is over never starts
// another pod. In case of doubt Kubernetes starts a pod: when it claims its attempt, it learns that
// there is none.
func retryPolicy(index *job.Index) *batchv1.PodFailurePolicy {
	again, over := []int32{executor.PodRetry}, []int32{executor.PodNoRetry}
	for code, reason := range map[int32]job.Reason{
		executor.PodFetchFailed: job.ReasonFetchFailed, executor.PodPlatformFailed: job.ReasonStartFailed,
	} {
		if index.RetriesReason(reason) {
			again = append(again, code)
		} else {
			over = append(over, code)
		}
	}
	rules := []batchv1.PodFailurePolicyRule{
		onExit(batchv1.PodFailurePolicyActionCount, agentContainer, batchv1.PodFailurePolicyOnExitCodesOpIn, again),
		onExit(batchv1.PodFailurePolicyActionFailJob, agentContainer, batchv1.PodFailurePolicyOnExitCodesOpIn, over),
	}
	return &batchv1.PodFailurePolicy{Rules: append(rules, withoutAgent(index)...)}
}

// withoutAgent returns the rules for pods whose agent could not tell how the program ended.
func withoutAgent(index *job.Index) (rules []batchv1.PodFailurePolicyRule) {
	if len(index.RetryOn) == 0 {
		return nil // counting is what Kubernetes does without a rule
	}
	names := func(reasons ...job.Reason) bool { return slices.ContainsFunc(reasons, index.RetriesReason) }
	var codes []int32
	for _, code := range index.RetryCodes() {
		codes = append(codes, int32(code)) //nolint:gosec // 255 at most
	}
	counted := codes
	if names(job.ReasonOOMKilled) && !slices.Contains(codes, killed) {
		counted = append(slices.Clone(codes), killed)
	}
	if len(counted) > 0 {
		rules = append(rules, onExit(batchv1.PodFailurePolicyActionCount, programContainer,
			batchv1.PodFailurePolicyOnExitCodesOpIn, counted))
	}
	disrupted := names(job.ReasonEvicted, job.ReasonNodeLost, job.ReasonPreempted, job.ReasonInterrupted)
	if !disrupted {
		rules = append(rules, batchv1.PodFailurePolicyRule{
			Action: batchv1.PodFailurePolicyActionFailJob,
			OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
				{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
			},
		})
	}
	if !disrupted && !names(job.ReasonError, job.ReasonOOMKilled) {
		if len(codes) == 0 {
			codes = []int32{0} // which is no failure: any other code
		}
		rules = append(rules, onExit(batchv1.PodFailurePolicyActionFailJob, programContainer,
			batchv1.PodFailurePolicyOnExitCodesOpNotIn, codes))
	}
	return rules
}

// onExit is a rule on the exit code of a container. Kubernetes wants the codes in order.
func onExit(
	action batchv1.PodFailurePolicyAction, container string, operator batchv1.PodFailurePolicyOnExitCodesOperator,
	codes []int32,
) batchv1.PodFailurePolicyRule {
	slices.Sort(codes)
	return batchv1.PodFailurePolicyRule{
		Action: action,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			ContainerName: &container, Operator: operator, Values: codes,
		},
	}
}
