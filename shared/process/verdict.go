package process

import (
	"fmt"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// verdict is what the records of a job mean.
type verdict struct {
	over    bool // phase, reason and message say how
	running bool // the last attempt has no end
	phase   job.Phase
	reason  job.Reason
	message string
}

// judge decides from the records alone, so that it comes to the same after a crash.
func judge(index *job.Index, attempts []job.Attempt, cancelled bool, now time.Time) verdict {
	n := len(attempts)
	if n == 0 {
		if cancelled {
			return verdict{over: true, phase: job.Cancelled, reason: job.ReasonCancelled, message: "cancelled before it was started"}
		}
		return verdict{}
	}
	last := attempts[n-1]
	switch {
	case last.FinishedAt == nil:
		return verdict{running: true}
	case last.Reason == job.ReasonCompleted:
		return verdict{over: true, phase: job.Succeeded, reason: last.Reason, message: last.Message}
	case cancelled || last.Reason == job.ReasonCancelled:
		return verdict{over: true, phase: job.Cancelled, reason: job.ReasonCancelled, message: "cancelled by its user"}
	case !mayRetry(index, n, last.Reason):
		return verdict{over: true, phase: job.Failed, reason: last.Reason, message: withAttempts(last.Message, n)}
	case index.TimeoutSeconds > 0 && !now.Before(deadline(index, attempts)):
		return verdict{over: true, phase: job.Failed, reason: job.ReasonDeadlineExceeded, message: "the job's timeoutSeconds passed before its next attempt"}
	}
	return verdict{}
}

// mayRetry reports whether an attempt that ended for reason is followed by another. A program that cannot be
// run, or whose time is up, would fare no better; one whose outputs were lost did its work.
func mayRetry(index *job.Index, number int, reason job.Reason) bool {
	if number > index.Retries {
		return false
	}
	switch reason {
	case job.ReasonCompleted, job.ReasonCancelled, job.ReasonDeadlineExceeded, job.ReasonCannotRun, job.ReasonOutputsLost:
		return false
	default:
		return true
	}
}

func withAttempts(message string, n int) string {
	if n == 1 {
		return message
	}
	return fmt.Sprintf("%s (attempt %d)", message, n)
}

// deadline is when the job's time is up, counted from its first attempt as Kubernetes counts
// activeDeadlineSeconds.
func deadline(index *job.Index, attempts []job.Attempt) time.Time {
	return attempts[0].StartedAt.Add(time.Duration(index.TimeoutSeconds) * time.Second)
}

// reasonOf names an exit's reason also when the program ended by itself.
func reasonOf(e executor.Exit) job.Reason {
	if e.Reason != "" {
		return e.Reason
	}
	reason, _ := explain(e)
	return reason
}

// explain says how a program ended that ended by itself.
func explain(e executor.Exit) (job.Reason, string) {
	switch {
	case e.Signal != "":
		return job.ReasonError, fmt.Sprintf("the program was ended by %s (exit code %d)", e.Signal, e.Code)
	case e.Code != 0:
		return job.ReasonError, fmt.Sprintf("the program exited with code %d", e.Code)
	}
	return job.ReasonCompleted, ""
}
