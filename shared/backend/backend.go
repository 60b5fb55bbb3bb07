// Package backend says what runs jobs has to offer: child processes of this server, or Jobs of a
// Kubernetes cluster. The functions work over it and do not know which one it is.
package backend

import (
	"context"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/secret"
)

// Launcher starts a job, or makes sure that it will be started. Starting one twice changes nothing.
type Launcher interface {
	Launch(ctx context.Context, index *job.Index) error
}

// Observer finds out how a job fares that no agent has reported the end of.
type Observer interface {
	// Observe changes nothing: to ask how a job fares must not decide how it fares.
	Observe(ctx context.Context, id job.ID) (job.Observation, error)
	// RecordEnd is Observe, and records the end of a job that is over.
	RecordEnd(ctx context.Context, id job.ID) (job.Observation, error)
	// GiveUp ends a job that cannot start.
	GiveUp(ctx context.Context, id job.ID, why job.Observation) error
}

// Stopper ends what runs of a job, soon; with remove set at once. A job that it does not know is no
// error.
type Stopper interface {
	Stop(ctx context.Context, id job.ID, remove bool) error
}

// Admission decides, before a job is accepted, whether the backend can run it.
type Admission interface {
	// Admit reserves a place in the queue, or refuses with an error of kind job.ErrUnavailable.
	Admit() (release func(), err error)
	// Check returns the faults for which a job could never run.
	Check(spec *job.Spec) error
}

// Queue is where jobs of this process wait and run. A job that it has need not be launched.
type Queue interface {
	Has(id job.ID) bool
	// Ahead returns how many jobs start before one that waits, and false for a job that does not wait.
	Ahead(id job.ID) (int, bool)
}

// Runtime is one that jobs can name.
type Runtime struct {
	Name string `json:"name"`
	// Version is that of the interpreter on this machine; empty: each job's image has its own.
	Version string `json:"version,omitempty"`
}

// Backend is what runs jobs.
type Backend struct {
	Launcher  Launcher
	Observer  Observer // nil: the records alone say how jobs fare
	Stopper   Stopper
	Admission Admission
	Queue     Queue // nil: jobs wait elsewhere
	// Secrets are the operator's; nil: those that the reaper has published in the bucket.
	Secrets secret.Catalog
	// Publish are the operator's secrets that the reaper publishes; nil: it publishes none.
	Publish  secret.Catalog
	Runtimes []Runtime // nil: it is not known which there are
	// Profiles are those that it launches jobs with; nil: it launches none.
	Profiles *profile.File
	// Expect is told that a job is about to come, and returns at once; nil: nobody needs to know.
	Expect func()
}

// Remote is the backend of a function that reaches none: another process runs the jobs, and learns
// from the records what is wanted of it. It has no Launcher.
func Remote() Backend { return Backend{Stopper: noticed{}, Admission: AnyRuntime{}} }

// noticed leaves it to whoever runs the job to see in the records that it is cancelled.
type noticed struct{}

func (noticed) Stop(context.Context, job.ID, bool) error { return nil }

// AnyRuntime is an Admission that lets every job in whose runtime there is.
type AnyRuntime struct{}

// Admit implements Admission.
func (AnyRuntime) Admit() (release func(), err error) { return func() {}, nil }

// Check implements Admission.
func (AnyRuntime) Check(spec *job.Spec) error {
	_, err := runtimes.Find(spec.Runtime)
	return err
}
