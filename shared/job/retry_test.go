package job_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

func code(n int) *int { return &n }

// TestMayRetry decides about each end of an attempt, with and without causes.
func TestMayRetry(t *testing.T) {
	t.Parallel()
	all := []job.Reason{
		job.ReasonCompleted, job.ReasonCancelled, job.ReasonDeadlineExceeded, job.ReasonCannotRun, job.ReasonOutputsLost,
		job.ReasonError, job.ReasonEvicted, job.ReasonFetchFailed, job.ReasonInterrupted, job.ReasonNodeLost,
		job.ReasonOOMKilled, job.ReasonPreempted, job.ReasonStartFailed, "NodeShutdown",
	}
	for name, test := range map[string]struct {
		on   []string
		code *int
		want []job.Reason // after which it runs again
	}{
		"without causes": {nil, code(1), append(job.RetryReasons(), "NodeShutdown")},
		"no causes":      {[]string{}, nil, append(job.RetryReasons(), "NodeShutdown")},
		"a reason":       {[]string{"OOMKilled"}, code(137), []job.Reason{job.ReasonOOMKilled}},
		"two reasons": {[]string{"OOMKilled", "NodeLost"}, nil,
			[]job.Reason{job.ReasonNodeLost, job.ReasonOOMKilled}},
		"what ends programs": {[]string{"Interrupted"}, code(143), []job.Reason{job.ReasonInterrupted, "NodeShutdown"}},
		"another code":       {[]string{"3"}, code(4), nil},
		"no code":            {[]string{"1-255"}, nil, nil},
		"code 0":             {[]string{"1-255"}, code(0), nil},
		"the code":           {[]string{"3"}, code(3), append(job.RetryReasons(), "NodeShutdown")},
		"its range": {[]string{"9", "10-20"}, code(20),
			append(job.RetryReasons(), "NodeShutdown")},
		"beside its range": {[]string{"9", "10-20"}, code(21), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := &job.Index{Spec: job.Spec{Retries: 2, RetryOn: test.on}}
			var got []job.Reason
			for _, reason := range all {
				if index.MayRetry(2, reason, test.code) {
					got = append(got, reason)
				}
				if index.MayRetry(3, reason, test.code) {
					t.Errorf("%s: a third retry", reason)
				}
			}
			slices.Sort(got)
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("retried (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRetryCodes(t *testing.T) {
	t.Parallel()
	s := job.Spec{RetryOn: []string{"7", "OOMKilled", "3-5", "4", "255"}}
	if diff := cmp.Diff([]int{3, 4, 5, 7, 255}, s.RetryCodes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRetryOn(t *testing.T) {
	t.Parallel()
	const reasons = "Error, Evicted, FetchFailed, Interrupted, NodeLost, OOMKilled, Preempted, StartFailed"
	for _, test := range []struct {
		entry, want string // of the message; empty: it is valid
	}{
		{"1", ""}, {"255", ""}, {"10-20", ""}, {"7-7", ""}, {"OOMKilled", ""}, {"StartFailed", ""}, {"NodeLost", ""},
		{"0", "not an exit code from 1 to 255"}, {"256", "not an exit code"}, {"3-", "not an exit code"},
		{"99999999999999999999", "not an exit code"}, {"1e3", "not an exit code"}, {"1-2-3", "not an exit code"},
		{"20-10", "did you mean 10-20?"}, {"0-5", "not an exit code"},
		{"-5", "neither an exit code"}, {" 5", "neither"}, {"", "neither an exit code"}, {"oom", "did you mean OOMKilled?"},
		{"OOMKiled", "did you mean OOMKilled?"}, {"error", "did you mean Error?"}, {"failed", "did you mean Error?"},
		{"Completed", reasons}, {"DeadlineExceeded", reasons}, {"Cancelled", reasons}, {"ContainerCannotRun", reasons},
		{strings.Repeat("x", 1000), reasons},
	} {
		spec := job.Spec{Runtime: "python", Entrypoint: "a.py", Retries: 1, RetryOn: []string{"1", test.entry}}
		err := spec.Validate()
		var faults *job.Faults
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%.60q: %v", test.entry, err)
		case test.want == "":
		case !errors.As(err, &faults) || len(faults.List) != 1 || faults.List[0].Field != "retryOn[1]" ||
			!strings.Contains(faults.List[0].Message, test.want) || len(faults.List[0].Message) > 400:
			t.Errorf("%.60q: got %v, want a fault with %q", test.entry, err, test.want)
		}
	}
	many := job.Spec{Runtime: "python", Entrypoint: "a.py", Retries: 1, RetryOn: slices.Repeat([]string{"1"}, 51)}
	alone := job.Spec{Runtime: "python", Entrypoint: "a.py", RetryOn: []string{"1"}}
	for want, spec := range map[string]job.Spec{"has 51 entries": many, "needs retries": alone} {
		if err := spec.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"nightly": "", "Bericht für 東京 №7, /x?y=z&%20 <b>": "", strings.Repeat("n", 100): "", "é́": "",
		"": "empty", strings.Repeat("n", 101): "has 101 bytes", "a\nb": "cannot be seen", "a\x1b[31m": "cannot be seen",
		"a\u202eb": "cannot be seen", "a\u200bb": "cannot be seen", "a\u00a0b": "cannot be seen", "a\tb": "cannot be seen",
		"a\xff": "not valid UTF-8", " a": "blank", "a ": "blank", "\x00": "cannot be seen",
	} {
		if got := job.CheckName(name); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
