package executor

import (
	"fmt"
	"time"

	"go-job-orchestrator/shared/job"
)

// Verdict is what the records of a job mean. The zero value means that the next attempt is due.
type Verdict struct {
	Over    bool // Phase, Reason and Message say how
	Running bool // the last attempt has no end
	Phase   job.Phase
	Reason  job.Reason
	Message string
}

// Judge decides from the records alone, so that it comes to the same after a crash.
func Judge(index *job.Index, attempts []job.Attempt, cancelled bool, now time.Time) Verdict {
	n := len(attempts)
	if n == 0 {
		if cancelled {
			return Verdict{Over: true, Phase: job.Cancelled, Reason: job.ReasonCancelled,
				Message: "cancelled before it was started"}
		}
		return Verdict{}
	}
	last := attempts[n-1]
	switch {
	case last.FinishedAt == nil:
		return Verdict{Running: true}
	case last.Reason == job.ReasonCompleted:
		return Verdict{Over: true, Phase: job.Succeeded, Reason: last.Reason, Message: last.Message}
	case cancelled || last.Reason == job.ReasonCancelled:
		return Verdict{Over: true, Phase: job.Cancelled, Reason: job.ReasonCancelled, Message: "cancelled by its user"}
	case !index.MayRetry(n, last.Reason, last.ExitCode):
		return Verdict{Over: true, Phase: job.Failed, Reason: last.Reason, Message: withAttempts(last.Message, n)}
	case index.TimeUp(attempts, now):
		return Verdict{Over: true, Phase: job.Failed, Reason: job.ReasonDeadlineExceeded,
			Message: "the job's timeoutSeconds passed before its next attempt"}
	}
	return Verdict{}
}

func withAttempts(message string, n int) string {
	if n == 1 {
		return message
	}
	return fmt.Sprintf("%s (attempt %d)", message, n)
}

// Why names an exit's reason also when the program ended by itself.
func (e Exit) Why() job.Reason {
	if e.Reason != "" {
		return e.Reason
	}
	reason, _ := explain(e)
	return reason
}

// explain says how a program ended that ended by itself.
func explain(e Exit) (job.Reason, string) {
	switch {
	case e.Signal != "":
		return job.ReasonError, fmt.Sprintf("the program was ended by %s (exit code %d)", e.Signal, e.Code)
	case e.Code != 0:
		return job.ReasonError, fmt.Sprintf("the program exited with code %d", e.Code)
	}
	return job.ReasonCompleted, ""
}

// Record returns the record of an attempt that ended so, at the time end unless it is known better.
func (r Result) Record(a job.Attempt, end time.Time) job.Attempt {
	if !r.At.IsZero() {
		end = r.At
	}
	end = end.UTC()
	a.FinishedAt, a.Signal, a.Reason, a.Message = &end, r.Exit.Signal, r.Exit.Reason, r.Exit.Message
	if a.Reason == "" {
		a.Reason, a.Message = explain(r.Exit)
	}
	if r.Ran {
		code := r.Exit.Code
		a.ExitCode = &code
	}
	a.Outputs, a.Timing = r.Outputs, r.Timing
	return a
}

// Terminal returns the record of a job that ended so, for good or ill, by the time now.
func (v Verdict) Terminal(attempts []job.Attempt, now time.Time) job.Terminal {
	t := job.Terminal{Phase: v.Phase, Reason: v.Reason, Message: v.Message, FinishedAt: now.UTC(), Attempts: attempts}
	if len(attempts) == 0 {
		return t
	}
	last := attempts[len(attempts)-1]
	t.StartedAt, t.ExitCode, t.Outputs = &attempts[0].StartedAt, last.ExitCode, last.Outputs
	if last.FinishedAt != nil && last.Reason == v.Reason {
		t.FinishedAt = *last.FinishedAt
	}
	return t
}
