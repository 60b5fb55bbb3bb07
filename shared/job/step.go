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

// Trace is the job's place in a distributed trace (W3C Trace Context). It goes from the request,
// through the job's record, to the program and to the job's events.
type Trace struct {
	Parent string `json:"traceparent,omitempty"`
	State  string `json:"tracestate,omitempty"`
}

const maxTraceState = 512 // the recommendation wants at least so much to be passed on

var traceParent = pattern{expr: `^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,256})?$`}

// NewTrace returns the trace of two header fields. It ignores values that are not valid, as the
// recommendation demands.
func NewTrace(parent, state string) Trace {
	switch {
	case !traceParent.get().MatchString(parent), strings.HasPrefix(parent, "ff"),
		strings.HasPrefix(parent, "00") && len(parent) != len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		parent[3:35] == strings.Repeat("0", 32), parent[36:52] == strings.Repeat("0", 16):
		return Trace{}
	case len(state) > maxTraceState || strings.ContainsFunc(state, func(r rune) bool { return r < ' ' || r > '~' }):
		return Trace{Parent: parent}
	}
	return Trace{Parent: parent, State: state}
}

// Variables returns the environment variables by which a program continues the trace.
func (t Trace) Variables() map[string]string {
	env := map[string]string{}
	if t.Parent != "" {
		env["TRACEPARENT"] = t.Parent
	}
	if t.State != "" {
		env["TRACESTATE"] = t.State
	}
	return env
}
