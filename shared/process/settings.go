package process

import (
	"errors"
	"fmt"
	"time"

	"go-job-orchestrator/shared/sandbox"
	"go-job-orchestrator/shared/settings"
)

// Settings are the process launcher's own.
type Settings struct {
	MaxConcurrent     uint16        `env:"MAX_CONCURRENT_JOBS"` // 0: the number of CPUs
	MaxQueued         uint32        `env:"MAX_QUEUED_JOBS" envDefault:"10000"`
	WorkDir           string        `env:"WORK_DIR"` // empty: in STORAGE_DIR
	Sandbox           sandbox.Mode  `env:"SANDBOX" envDefault:"auto"`
	ReadPaths         []string      `env:"SANDBOX_READ_PATHS" envSeparator:":"`
	SecretsFile       string        `env:"SECRETS_FILE"` // the operator's secrets; empty: there are none
	Grace             time.Duration `env:"KILL_GRACE" envDefault:"10s"`
	DrainTimeout      time.Duration `env:"DRAIN_TIMEOUT" envDefault:"30s"`
	RetryBackoff      time.Duration `env:"RETRY_BACKOFF" envDefault:"1s"`
	MaxWorkspace      settings.Size `env:"MAX_WORKSPACE_BYTES" envDefault:"8Gi"`
	MinFree           settings.Size `env:"MIN_FREE_BYTES" envDefault:"256Mi"` // submit's as well
	MaxWorkspaceFiles uint32        `env:"MAX_WORKSPACE_FILES" envDefault:"200000"`
	MaxLog            settings.Size `env:"MAX_LOG_BYTES" envDefault:"4Gi"`
	MaxOutput         settings.Size `env:"MAX_OUTPUT_BYTES" envDefault:"4Gi"`
	MaxOutputFiles    uint32        `env:"MAX_OUTPUT_FILES" envDefault:"10000"`
	MaxProcesses      uint16        `env:"MAX_PROCESSES" envDefault:"512"`
	MaxOpenFiles      uint32        `env:"MAX_OPEN_FILES" envDefault:"1024"`
}

// minOpenFiles is with how many open files every runtime starts.
const minOpenFiles = 64

// Check finds times with which a job would be tried again without a pause, or never ended, and
// limits with which no program runs.
func (s *Settings) Check() error {
	err := settings.CheckDurations(
		settings.Duration{Name: "KILL_GRACE", Value: s.Grace, Max: time.Hour},
		settings.Duration{Name: "DRAIN_TIMEOUT", Value: s.DrainTimeout, Max: 24 * time.Hour},
		settings.Duration{Name: "RETRY_BACKOFF", Value: s.RetryBackoff, Min: 10 * time.Millisecond, Max: time.Hour},
	)
	if s.MaxOpenFiles < minOpenFiles {
		err = errors.Join(err, fmt.Errorf("MAX_OPEN_FILES: %d is too few for programs to start with; set at least %d",
			s.MaxOpenFiles, minOpenFiles))
	}
	return err
}
