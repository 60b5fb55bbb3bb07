// Package agentwire is what the agent in a job's pod and functions/agentapi send each other, as
// JSON. Package routes says where each goes; the state of the log is joblog.State, and a segment of
// it is described there. The agent links this package, so it imports only what that has anyway.
package agentwire

import (
	"encoding/json"

	"go-job-orchestrator/shared/job"
)

// Claim asks for the attempt that is due. Owner tells those who ask apart.
type Claim struct {
	Owner  string      `json:"owner"`
	Limits *job.Limits `json:"limits,omitempty"`
}

// Manifest lists the outputs of a job by name, once all are stored.
type Manifest struct {
	Files []job.File `json:"files"`
	// Order is the order of the log as agents sent it before it had times. It is not used any more.
	Order json.RawMessage `json:"order,omitempty"`
}

// Report is what an agent saw of the end of an attempt whose reason it does not know, and the
// outputs that it stored.
type Report struct {
	Attempt  job.Attempt `json:"attempt"`
	Manifest Manifest    `json:"manifest"`
}

// LinkRequest asks for a Link to send an output to.
type LinkRequest struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // in bytes
}

// Link is a URL of the bucket that takes one PUT of an output, of the size that was asked for, with
// these headers.
type Link struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
}

// Secrets are the values of a job's secrets that its user sent, by the names of their variables.
type Secrets struct {
	Values map[string]string `json:"values"`
}
