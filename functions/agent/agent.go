// Package agent is what runs in the pod of a job, in two containers of which only the first has the
// job's token: the sidecar brings the uploaded files, ships the program's logs and stores what it
// left; exec runs the program. They tell each other how far they are by small files in the
// workspace. Before all that install puts the agent where exec's container finds it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
)

// terminationLog is where Kubernetes reads a container's termination message from.
const terminationLog = "/dev/termination-log"

// Settings are those of the sidecar.
type Settings struct {
	BaseURL   string        `env:"ORCH_BASE_URL" envDefault:"http://job-orchestrator:8080"`
	JobID     string        `env:"JOB_ID,required"`
	Owner     string        `env:"POD_UID,required"` // tells two pods of one job apart
	TokenFile string        `env:"TOKEN_FILE"`
	Grace     time.Duration `env:"KILL_GRACE" envDefault:"10s"`
	// Patience is how long a call to the orchestrator is tried again: functions start from zero, and
	// are replaced.
	Patience time.Duration `env:"PATIENCE" envDefault:"5m"`
	Limits   executor.OutputLimits
	MaxFiles int   `env:"MAX_OUTPUT_FILES" envDefault:"10000"`
	MaxBytes int64 `env:"MAX_OUTPUT_BYTES" envDefault:"4294967296"`
	MaxLog   int64 `env:"MAX_LOG_BYTES" envDefault:"4294967296"`
}

// paths are the folders that the parts of the agent share.
type paths struct {
	work    string
	binary  string
	secrets string // where the sidecar leaves the secrets for exec
	named   string // where the operator's secrets are mounted for the sidecar
}

func (p paths) workspace() executor.Workspace { return executor.NewWorkspace(p.work) }

// The records by which the parts speak. The sidecar writes the task; exec writes that it is ready;
// the sidecar writes whether exec may start, and at the end that all is stored.
const (
	taskRecord  = "task.json"
	readyRecord = "ready.json"
	startRecord = "start.json"
	// formerStart is the name of startRecord in earlier versions.
	formerStart = "turn.json"
	doneRecord  = "done.json"
)

// task is what the sidecar has prepared. Index is nil when there is nothing to do any more, or when
// the files could not be fetched.
type task struct {
	Failed string        `json:"failed,omitempty"` // why the files could not be fetched
	Index  *job.Index    `json:"index,omitempty"`
	Log    joblog.State  `json:"log"` // where the log of earlier attempts ends
	Grace  time.Duration `json:"grace"`
	MaxLog int64         `json:"maxLog"` // the most bytes of log that are kept
	// Prepare says that packages are to be installed before the attempt; see packages.go.
	Prepare bool `json:"prepare,omitempty"`
	// Timing is when the files were fetched.
	Timing job.Timing `json:"timing,omitzero"`
}

// start is what sidecar answers exec: the attempt to make, or, when Number is 0, that there is
// none.
type start struct {
	Number int    `json:"number"`
	Why    string `json:"why,omitempty"`
	Failed bool   `json:"failed,omitempty"` // the pod is to fail, so that another is tried
}

// done is what sidecar notes once all is stored, for when it is started again.
type done struct {
	Code int `json:"code,omitempty"` // its exit code
}

// The pauses between two looks for what another part writes: short at first, since it mostly is
// about to be there, an eighth longer each time, so that what has come is seen in an eighth of the
// time that it took, and never so long that anybody would notice.
const (
	firstPause = time.Millisecond / 4
	lastPause  = 25 * time.Millisecond
)

// await reads a record as soon as it is there.
func await(ctx context.Context, w executor.Workspace, name string, into any) error {
	for pause := firstPause; ; pause = min(pause+pause/8, lastPause) {
		err := w.ReadRecord(name, into)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", name, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// sidecar is the part that speaks to the orchestrator.
type sidecar struct {
	paths
	settings Settings
	client   *client
	log      *slog.Logger
}

func newSidecar(p paths, s Settings, log *slog.Logger) (*sidecar, error) {
	id, err := job.ParseID(s.JobID)
	if err != nil {
		return nil, fmt.Errorf("JOB_ID: %w", err)
	}
	path := s.TokenFile
	if path == "" {
		path = executor.PodTokenFile
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("TOKEN_FILE: %w", err)
	}
	s.Limits = executor.OutputLimits{Files: s.MaxFiles, Bytes: s.MaxBytes}
	return &sidecar{
		paths: p, settings: s, log: log.With("job", id),
		client: newClient(strings.TrimSuffix(s.BaseURL, "/"), id, strings.TrimSpace(string(text)), s.Patience, log),
	}, nil
}

// isMoot reports whether an answer says that there is nothing to do for the job any more: it is
// over, cancelled or gone.
func isMoot(err error) bool {
	return errors.Is(err, job.ErrConflict) || errors.Is(err, job.ErrNotFound)
}
