package executor

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// TestJudge decides over every kind of past a job can have.
func TestJudge(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	end := begin.Add(time.Second)
	ended := func(reasons ...job.Reason) []job.Attempt {
		var list []job.Attempt
		for i, r := range reasons {
			list = append(list, job.Attempt{Number: i + 1, StartedAt: begin, FinishedAt: &end, Reason: r, Message: "why"})
		}
		return list
	}
	open := func(list []job.Attempt) []job.Attempt {
		return append(list, job.Attempt{Number: len(list) + 1, StartedAt: begin})
	}
	over := func(p job.Phase, r job.Reason, message string) Verdict {
		return Verdict{Over: true, Phase: p, Reason: r, Message: message}
	}
	next := Verdict{}
	tests := []struct {
		name      string
		spec      job.Spec
		attempts  []job.Attempt
		cancelled bool
		now       time.Time
		want      Verdict
	}{
		{"new", job.Spec{}, nil, false, end, next},
		{"cancelled when new", job.Spec{}, nil, true, end,
			over(job.Cancelled, job.ReasonCancelled, "cancelled before it was started")},
		{"running", job.Spec{}, open(nil), false, end, Verdict{Running: true}},
		{"running and to be cancelled", job.Spec{}, open(nil), true, end, Verdict{Running: true}},
		{"succeeded", job.Spec{}, ended(job.ReasonCompleted), false, end, over(job.Succeeded, job.ReasonCompleted, "why")},
		{"succeeded before the cancel came", job.Spec{}, ended(job.ReasonCompleted), true, end,
			over(job.Succeeded, job.ReasonCompleted, "why")},
		{"failed", job.Spec{}, ended(job.ReasonError), false, end, over(job.Failed, job.ReasonError, "why")},
		{"failed, a retry left", job.Spec{Retries: 1}, ended(job.ReasonError), false, end, next},
		{"failed, a retry left, cancelled", job.Spec{Retries: 1}, ended(job.ReasonError), true, end,
			over(job.Cancelled, job.ReasonCancelled, "cancelled by its user")},
		{"retried in vain", job.Spec{Retries: 1}, ended(job.ReasonError, job.ReasonOOMKilled), false, end,
			over(job.Failed, job.ReasonOOMKilled, "why (attempt 2)")},
		{"retried with success", job.Spec{Retries: 1}, ended(job.ReasonError, job.ReasonCompleted), false, end,
			over(job.Succeeded, job.ReasonCompleted, "why")},
		{"retrying", job.Spec{Retries: 1}, open(ended(job.ReasonError)), false, end, Verdict{Running: true}},
		{"interrupted", job.Spec{}, ended(job.ReasonInterrupted), false, end, over(job.Failed, job.ReasonInterrupted, "why")},
		{"interrupted, a retry left", job.Spec{Retries: 1}, ended(job.ReasonInterrupted), false, end, next},
		{"deadline, retries left", job.Spec{Retries: 9}, ended(job.ReasonDeadlineExceeded), false, end,
			over(job.Failed, job.ReasonDeadlineExceeded, "why")},
		{"failed for another cause", job.Spec{Retries: 9, RetryOn: []string{"OOMKilled", "7"}}, ended(job.ReasonError), false,
			end, over(job.Failed, job.ReasonError, "why")},
		{"failed for a cause", job.Spec{Retries: 9, RetryOn: []string{"OOMKilled"}},
			ended(job.ReasonOOMKilled, job.ReasonOOMKilled), false, end, next},
		{"cannot run, retries left", job.Spec{Retries: 9}, ended(job.ReasonCannotRun), false, end,
			over(job.Failed, job.ReasonCannotRun, "why")},
		{"outputs lost, retries left", job.Spec{Retries: 9}, ended(job.ReasonOutputsLost), false, end,
			over(job.Failed, job.ReasonOutputsLost, "why")},
		{"cancelled while it ran", job.Spec{Retries: 9}, ended(job.ReasonCancelled), true, end,
			over(job.Cancelled, job.ReasonCancelled, "cancelled by its user")},
		{"time left for a retry", job.Spec{Retries: 1, TimeoutSeconds: 10}, ended(job.ReasonError), false,
			begin.Add(9 * time.Second), next},
		{"no time left for a retry", job.Spec{Retries: 1, TimeoutSeconds: 10}, ended(job.ReasonError), false,
			begin.Add(10 * time.Second), over(job.Failed, job.ReasonDeadlineExceeded, "the job's timeoutSeconds passed "+
				"before its next attempt")},
	}
	for _, tt := range tests {
		got := Judge(&job.Index{Spec: tt.spec}, tt.attempts, tt.cancelled, tt.now)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestRecord puts results into words.
func TestRecord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		result  Result
		reason  job.Reason
		message string
		code    bool
	}{
		{Result{Ran: true}, job.ReasonCompleted, "", true},
		{Result{Ran: true, Exit: Exit{Code: 3}}, job.ReasonError, "the program exited with code 3", true},
		{Result{Ran: true, Exit: Exit{Code: 137, Signal: "SIGKILL"}}, job.ReasonError, "the program was ended by SIGKILL " +
			"(exit code 137)", true},
		{Result{Ran: true, Exit: Exit{Code: 137, Signal: "SIGKILL", Reason: job.ReasonOOMKilled, Message: "too much"}},
			job.ReasonOOMKilled, "too much", true},
		{Result{Exit: Exit{Reason: job.ReasonFetchFailed, Message: "gone"}}, job.ReasonFetchFailed, "gone", false},
		{Interrupted(), job.ReasonInterrupted, "the server went away while the program ran", false},
	} {
		a := tt.result.Record(job.Attempt{Number: 1}, time.Now())
		if a.Reason != tt.reason || a.Message != tt.message || (a.ExitCode != nil) != tt.code || a.FinishedAt == nil {
			t.Errorf("%+v became %+v", tt.result, a)
		}
	}
}

// TestEnvironment holds nothing of this process.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "do not pass on")
	got := Environment(&job.Index{JobID: "id", Spec: job.Spec{Env: map[string]string{"B": "2", "A": "1"}}}, 2, "/files",
		"/temp", "/bin")
	want := []string{"PATH=/bin", "HOME=/files", "LANG=C.UTF-8", "TMPDIR=/temp", "JOB_ID=id", "JOB_ATTEMPT=2",
		"OUTPUT_DIR=/files/results", "A=1", "B=2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}
