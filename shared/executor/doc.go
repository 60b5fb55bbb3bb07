// Package executor runs one attempt of a job: fetch the artifacts, execute the program, collect what it
// left. It is the same code around a child process and in a pod; what differs stands behind its interfaces.
package executor

import (
	"context"
	"io"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
)

// Artifacts is where fetch reads from.
type Artifacts interface {
	// Open reads an uploaded file.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// Results is where collect writes to.
type Results interface {
	// PutLog stores a piece of the growing log; see package joblog.
	PutLog(ctx context.Context, segment string, data []byte) error
	// PutResult stores a file under results/ and returns what was stored.
	PutResult(ctx context.Context, name string, r io.Reader) (job.File, error)
	// PutManifest stores the list of what was stored, last.
	PutManifest(ctx context.Context, m Manifest) error
}

// Manifest closes the results of a job: the outputs by name, and in which order the log was written.
type Manifest struct {
	Files []job.File   `json:"files"`
	Order joblog.Order `json:"order"`
}
