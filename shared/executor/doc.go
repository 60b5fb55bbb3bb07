// Package executor runs one attempt of a job: fetch the artifacts, execute the program, collect
// what it left. It is the same code around a child process and in a pod; what differs stands behind
// its interfaces.
package executor

import (
	"context"
	"errors"
	"io"
	"os"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// Artifacts is where fetch reads from.
type Artifacts interface {
	// Open reads an uploaded file.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// Results is where collect writes to.
type Results interface {
	// PutLog stores a segment of the growing log; see package joblog.
	PutLog(ctx context.Context, segment string, data []byte) error
	// PutResult stores a file under results/ and returns what was stored.
	PutResult(ctx context.Context, name string, r io.Reader) (job.File, error)
	// PutOrder stores the order of the log, whose streams are stored as results; see package spool.
	PutOrder(ctx context.Context, r io.Reader) error
	// PutManifest stores the list of what was stored, last, by name.
	PutManifest(ctx context.Context, files []job.File) error
}

// Starter starts the program; how it is kept apart from the machine is the starter's business.
type Starter interface {
	Start(c Command) (Process, error)
}

// Command is a program to be started in a workspace.
type Command struct {
	Path string
	Args []string // without the program's own name
	Env  []string
	// Secrets are more variables, of the program alone: what is built before it does not get them.
	Secrets     map[string]string
	Mask        []string    // values that are replaced in the log
	Stdin       *os.File    // what it reads, from the beginning; nil: nothing
	Log         spool.Files // takes what it writes to its standard streams
	NonBlocking bool        // it does not wait until what it writes was read
	CPUMillis   int64       // 0 is no limit
	MemoryBytes int64       // 0 is no limit
}

// Process is a program that was started.
type Process interface {
	Terminate() error // asks it to end
	Kill() error      // ends it and all it has started
	// Wait returns once the program and all it has started are gone.
	Wait() (Exit, error)
}

// Exit is how a program ended. Reason is empty when it ended by itself or by a signal of its own
// making.
type Exit struct {
	Code    int        `json:"code"` // 128+N for signal N
	Signal  string     `json:"signal,omitempty"`
	Reason  job.Reason `json:"reason,omitempty"`
	Message string     `json:"message,omitempty"`
}

// Causes for which the context of a run is cancelled.
var (
	ErrCancelled   = errors.New("the user cancelled the job")
	ErrInterrupted = errors.New("the server is stopping")
	ErrDeadline    = errors.New("the job's time is up")
)
