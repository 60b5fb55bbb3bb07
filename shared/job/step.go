package job

import (
	"strings"
	"time"
)

// Step is one step in a job's life that the job announces as an event.
type Step string

// The steps, in the order of a job's life. One of Succeeded, Failed and Cancelled is its end.
const (
	StepSubmitted Step = "submitted"
	StepStarted   Step = "started"
	StepSucceeded Step = "succeeded"
	StepFailed    Step = "failed"
	StepCancelled Step = "cancelled"
	StepReaped    Step = "reaped"
)

// EndOf returns the step by which a job enters a terminal phase.
func EndOf(p Phase) Step { return Step(strings.ToLower(string(p))) }

// Announced reports whether jobs announce this step.
func (s Step) Announced() bool {
	switch s {
	case StepSubmitted, StepStarted, StepSucceeded, StepFailed, StepCancelled, StepReaped:
		return true
	}
	return false
}

// Ends reports whether this step ends the job.
func (s Step) Ends() bool { return s == StepSucceeded || s == StepFailed || s == StepCancelled }

// Notice is the content of a lifecycle event: the job as its owner sees it, at the time of the
// step.
type Notice struct {
	Step   Step      `json:"step"`
	At     time.Time `json:"at"`
	Status *Status   `json:"status"`
	Trace  Trace     `json:"trace,omitzero"`
	// Hops is the number of jobs before this one in its chain.
	Hops int `json:"hops,omitempty"`
}

// At returns the job as it was when it entered an earlier phase; s is its present state.
func (s *Status) At(p Phase) *Status {
	then := *s
	if p == s.Phase {
		return &then
	}
	then.Phase, then.Reason, then.Message = p, "", ""
	then.ExitCode, then.FinishedAt, then.ExpiresAt, then.Outputs = nil, nil, nil, nil
	then.NotCollected = nil
	then.Attempts = []Attempt{}
	switch {
	case p == Pending:
		then.Reason, then.StartedAt = ReasonQueued, nil
	case len(s.Attempts) > 0:
		first := s.Attempts[0]
		then.Attempts = []Attempt{{Number: first.Number, StartedAt: first.StartedAt, Limits: first.Limits}}
	}
	return &then
}
