package kubernetes

import (
	"fmt"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// ended is how a pod ended, as Kubernetes sees it.
type ended struct {
	agent, program int32
	disrupted      bool
}

// action returns what Kubernetes does with a failed pod, as matchPodFailurePolicy of its controller
// decides it (pkg/controller/job/pod_failure_policy.go).
func (e ended) action(p *batchv1.PodFailurePolicy) batchv1.PodFailurePolicyAction {
	codes := map[string]int32{agentContainer: e.agent, programContainer: e.program}
	for _, rule := range p.Rules {
		if rule.OnPodConditions != nil {
			if e.disrupted {
				return rule.Action
			}
			continue
		}
		code, in := codes[*rule.OnExitCodes.ContainerName], rule.OnExitCodes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn
		if code != 0 && slices.Contains(rule.OnExitCodes.Values, code) == in {
			return rule.Action
		}
	}
	return batchv1.PodFailurePolicyActionCount
}

const (
	tryAgain = batchv1.PodFailurePolicyActionCount
	endJob   = batchv1.PodFailurePolicyActionFailJob
)

func retried(on ...string) *job.Index {
	return index(func(i *job.Index) { i.Retries, i.RetryOn = 2, on })
}

// TestRetryPolicy ends pods in every way that Kubernetes can see.
func TestRetryPolicy(t *testing.T) {
	for _, test := range []struct {
		on   []string
		pod  ended
		want batchv1.PodFailurePolicyAction
	}{
		{nil, ended{agent: executor.PodRetry, program: 3}, tryAgain},
		{nil, ended{agent: executor.PodNoRetry, program: 70}, endJob}, // cannot be run
		{nil, ended{program: 3}, tryAgain},
		{nil, ended{agent: executor.PodFetchFailed, program: 70}, tryAgain},
		{nil, ended{agent: 70, program: 70}, tryAgain},
		{nil, ended{program: 137, disrupted: true}, tryAgain},
		{[]string{"3"}, ended{agent: executor.PodRetry, program: 3, disrupted: true}, tryAgain},
		{[]string{"3"}, ended{agent: executor.PodNoRetry, program: 4}, endJob},
		{[]string{"3"}, ended{agent: 137, program: 3}, tryAgain}, // the agent was killed
		{[]string{"3"}, ended{agent: 137, program: 4}, endJob},
		{[]string{"3"}, ended{program: 137}, endJob},
		{[]string{"3"}, ended{program: 143, disrupted: true}, endJob},
		{[]string{"137"}, ended{program: 137, disrupted: true}, tryAgain},
		{[]string{"3"}, ended{agent: executor.PodFetchFailed, program: 70}, endJob},
		{[]string{"3", "FetchFailed"}, ended{agent: executor.PodFetchFailed, program: 70}, tryAgain},
		{[]string{"3", "FetchFailed"}, ended{agent: 70, program: 70}, endJob},
		{[]string{"StartFailed"}, ended{agent: 70, program: 70}, tryAgain},
		{[]string{"StartFailed"}, ended{agent: executor.PodNoRetry, program: 70}, endJob}, // the program's own code
		{[]string{"StartFailed"}, ended{program: 1}, endJob},
		{[]string{"OOMKilled"}, ended{program: 137}, tryAgain},
		{[]string{"OOMKilled"}, ended{program: 137, disrupted: true}, tryAgain}, // which of the two it was is not known
		{[]string{"OOMKilled"}, ended{program: 143, disrupted: true}, endJob},
		{[]string{"OOMKilled"}, ended{agent: executor.PodNoRetry, program: 1}, endJob},
		{[]string{"Error"}, ended{program: 1}, tryAgain},
		{[]string{"Error"}, ended{program: 143, disrupted: true}, endJob},
		{[]string{"NodeLost"}, ended{disrupted: true}, tryAgain},
		{[]string{"NodeLost"}, ended{agent: executor.PodNoRetry, program: 1}, endJob},
		{[]string{"Interrupted"}, ended{program: 143}, tryAgain}, // somebody deleted the pod
		{[]string{"1-255"}, ended{program: 9}, tryAgain},
	} {
		if got := test.pod.action(retryPolicy(retried(test.on...))); got != test.want {
			t.Errorf("%q: %+v: got %s, want %s", test.on, test.pod, got, test.want)
		}
	}
}

// TestPolicyFollowsJudge has agents that know how the program ended, and others that are gone: the
// policy does what MayRetry says for the first, and never ends a Job too early for the others.
func TestPolicyFollowsJudge(t *testing.T) {
	causes := []string{"3", "100-255", "137"}
	for _, reason := range job.RetryReasons() {
		causes = append(causes, string(reason))
	}
	for _, first := range causes {
		for _, second := range append(causes, "") {
			i := retried(slices.DeleteFunc([]string{first, second}, func(s string) bool { return s == "" })...)
			policy := retryPolicy(i)
			checkPolicy(t, policy)
			for _, reason := range job.RetryReasons() {
				for _, code := range []int{0, 1, 3, 70, 137, 143, 255} { // 0: it is not known
					again := i.MayRetry(1, reason, &code)
					for _, pod := range podsOf(reason, code, again) {
						got := pod.action(policy)
						told := pod.agent == executor.PodRetry || pod.agent == executor.PodNoRetry
						if again && got == endJob || told && !again && got != endJob {
							t.Errorf("%q: %s (%d) is retried: %t, and %+v gets %s", i.RetryOn, reason, code, again, pod, got)
						}
					}
				}
			}
		}
	}
}

// podsOf are the pods that can be those of an attempt that ended so.
func podsOf(reason job.Reason, code int, again bool) (pods []ended) {
	program := int32(code)
	agent := int32(executor.PodNoRetry)
	if again {
		agent = executor.PodRetry
	}
	if program != 0 {
		pods = append(pods, ended{agent: agent, program: program}, ended{agent: agent, program: program, disrupted: true})
	}
	switch {
	case reason == job.ReasonFetchFailed && code == 0:
		pods = append(pods, ended{agent: executor.PodFetchFailed, program: executor.PodPlatformFailed})
	case reason == job.ReasonStartFailed && code == 0:
		pods = append(pods, ended{agent: executor.PodPlatformFailed, program: executor.PodPlatformFailed})
	case reason == job.ReasonOOMKilled && code == killed:
		pods = append(pods, ended{program: killed}, ended{agent: killed, program: killed})
	case slices.Contains([]job.Reason{job.ReasonEvicted, job.ReasonNodeLost, job.ReasonPreempted}, reason):
		pods = append(pods, ended{program: program, disrupted: true})
	case slices.Contains([]job.Reason{job.ReasonError, job.ReasonInterrupted}, reason) && code != 0:
		pods = append(pods, ended{program: program}, ended{agent: killed, program: program})
	}
	return pods
}

// checkPolicy demands what Kubernetes demands of a policy (ValidateJob in pkg/apis/batch).
func checkPolicy(t *testing.T, p *batchv1.PodFailurePolicy) {
	t.Helper()
	fault := func(rule int, text string) { t.Errorf("rule %d: %s: %+v", rule, text, p.Rules[rule]) }
	if len(p.Rules) > 20 {
		t.Errorf("%d rules", len(p.Rules))
	}
	for n, rule := range p.Rules {
		if exit := rule.OnExitCodes; exit != nil {
			in := exit.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn
			if len(exit.Values) == 0 || len(exit.Values) > 255 || in && exit.Values[0] == 0 {
				fault(n, "values")
			}
			if !slices.IsSorted(exit.Values) || len(slices.Compact(slices.Clone(exit.Values))) != len(exit.Values) {
				fault(n, "order")
			}
		}
		for _, c := range rule.OnPodConditions {
			if c.Status != corev1.ConditionTrue || c.Type == "" {
				fault(n, fmt.Sprint("condition ", c))
			}
		}
	}
}
