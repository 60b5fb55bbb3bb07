package job

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxRetryOn bounds the entries of RetryOn.
const MaxRetryOn = 50

// RetryReasons lists the reasons after which a retry may help, in the order of their names.
func RetryReasons() []Reason {
	return []Reason{ReasonError, ReasonEvicted, ReasonFetchFailed, ReasonInterrupted, ReasonNodeLost, ReasonOOMKilled,
		ReasonPreempted, ReasonStartFailed}
}

// MayRetry reports whether another attempt follows attempt number, which ended for reason, and with
// an exit code if its program ran. A retry would not help a program that cannot be executed or whose
// time is up. A program whose outputs were lost has done its work.
func (i *Index) MayRetry(number int, reason Reason, exitCode *int) bool {
	if number > i.Retries {
		return false
	}
	switch reason {
	case ReasonCompleted, ReasonCancelled, ReasonDeadlineExceeded, ReasonCannotRun, ReasonOutputsLost,
		ReasonDependenciesFailed:
		return false
	}
	return len(i.RetryOn) == 0 || i.RetriesReason(reason) || exitCode != nil && i.retriesCode(*exitCode)
}

// RetriesReason reports whether RetryOn names the reason, or is empty. The reasons that Kubernetes
// adds to ours also say that it ended the program, so they count as ReasonInterrupted.
func (s *Spec) RetriesReason(reason Reason) bool {
	if !slices.Contains(RetryReasons(), reason) {
		reason = ReasonInterrupted
	}
	return len(s.RetryOn) == 0 || slices.Contains(s.RetryOn, string(reason))
}

func (s *Spec) retriesCode(code int) bool {
	return slices.ContainsFunc(s.RetryOn, func(entry string) bool {
		first, last, message := exitCodes(entry)
		return message == "" && first <= code && code <= last
	})
}

// RetryCodes returns the exit codes that RetryOn names, in order, each once.
func (s *Spec) RetryCodes() []int {
	var codes []int
	for code := 1; code <= maxExitCode; code++ {
		if s.retriesCode(code) {
			codes = append(codes, code)
		}
	}
	return codes
}

const maxExitCode = 255

// exitCodes reads an exit code such as 3, or a range of them such as 10-20.
func exitCodes(entry string) (first, last int, message string) {
	from, to, isRange := strings.Cut(entry, "-")
	if !isRange {
		to = from
	}
	first, last = exitCode(from), exitCode(to)
	switch {
	case first == 0 || last == 0:
		return 0, 0, fmt.Sprintf("%.60q is not an exit code from 1 to %d, nor a range of them such as 10-20", entry,
			maxExitCode)
	case first > last:
		return 0, 0, fmt.Sprintf("the range %.60q ends before it begins; did you mean %d-%d?", entry, last, first)
	}
	return first, last, ""
}

// exitCode returns the code that the text says, and 0 if there is no such exit code of a failure.
func exitCode(text string) int {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0
	}
	return int(n)
}

func checkRetryOn(faults *Faults, s *Spec) {
	switch {
	case len(s.RetryOn) > MaxRetryOn:
		faults.add("retryOn", fmt.Sprintf("has %d entries; at most %d are allowed", len(s.RetryOn), MaxRetryOn))
		return
	case len(s.RetryOn) > 0 && s.Retries == 0:
		faults.add("retryOn", "needs retries: how often the program runs again")
	}
	for n, entry := range s.RetryOn {
		faults.add(fmt.Sprintf("retryOn[%d]", n), checkRetryEntry(entry))
	}
}

// checkRetryEntry says what is wrong with an entry of RetryOn, or returns "".
func checkRetryEntry(entry string) string {
	if entry != "" && entry[0] >= '0' && entry[0] <= '9' {
		_, _, message := exitCodes(entry)
		return message
	}
	names := make([]string, 0, len(RetryReasons()))
	for _, reason := range RetryReasons() {
		names = append(names, string(reason))
	}
	if slices.Contains(names, entry) {
		return ""
	}
	return fmt.Sprintf("%.60q is neither an exit code from 1 to %d, nor a range such as 10-20, nor one of the reasons %s",
		entry, maxExitCode, strings.Join(names, ", ")) + Meant(entry, names, otherReasons())
}

// otherReasons maps what people write to the reasons.
func otherReasons() map[string]string {
	others := map[string]string{}
	for reason, words := range map[Reason]string{
		ReasonError: "failed failure fail nonzero", ReasonOOMKilled: "oom outofmemory memory",
		ReasonInterrupted: "restart crash killed deleted", ReasonNodeLost: "node nodefailure lostnode",
		ReasonEvicted: "eviction disk", ReasonFetchFailed: "fetch download", ReasonStartFailed: "start starterror",
		ReasonPreempted: "preemption spot",
	} {
		for word := range strings.FieldsSeq(words) {
			others[word] = string(reason)
		}
	}
	return others
}
