package kubernetes

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/settings"
)

// Settings say how jobs run in the cluster.
type Settings struct {
	// AgentImage is the image of cmd/agent.
	AgentImage string `env:"AGENT_IMAGE,required"`
	// ArtifactsURL is where pods find the artifacts function; empty: ORCH_BASE_URL.
	ArtifactsURL string `env:"ARTIFACTS_URL"`
	// DataHostPath is a folder of the node that programs see as /data; empty: none. Restricted Pod
	// Security forbids it.
	DataHostPath string `env:"DATA_HOST_PATH"`
	// ServiceAccount is that of jobs' pods, which get no token of it. Its imagePullSecrets are used.
	ServiceAccount string `env:"JOB_SERVICE_ACCOUNT" envDefault:"job"`
	// RuntimeClass, such as gvisor, keeps programs apart from the node's kernel; empty: the cluster's
	// default.
	RuntimeClass string `env:"JOB_RUNTIME_CLASS"`
	// User is the user and group ID that programs run as.
	User int64 `env:"JOB_USER" envDefault:"65532"`
	// Workspace bounds the workspace and, by itself, /tmp.
	Workspace settings.Size `env:"MAX_WORKSPACE_BYTES" envDefault:"8Gi"`
	// Grace is the time between SIGTERM and SIGKILL for a program.
	Grace time.Duration `env:"KILL_GRACE" envDefault:"10s"`
	// CollectTimeout is how long a pod may take to store what is left when its program has ended.
	CollectTimeout time.Duration `env:"COLLECT_TIMEOUT" envDefault:"10m"`
	// KeepFinished is how long Kubernetes keeps Jobs that have ended, for people and for the reaper to
	// see why.
	KeepFinished   time.Duration `env:"KEEP_FINISHED_JOBS" envDefault:"1h"`
	MaxLog         settings.Size `env:"MAX_LOG_BYTES" envDefault:"4Gi"`
	MaxOutput      settings.Size `env:"MAX_OUTPUT_BYTES" envDefault:"4Gi"`
	MaxOutputFiles uint32        `env:"MAX_OUTPUT_FILES" envDefault:"10000"`

	images   map[string]string // by runtime
	profiles *profile.File
}

// load reads the settings. IMAGE_<RUNTIME>, such as IMAGE_PYTHON, overrides the image in the table
// of runtimes.
func load(env *platform.Env) (*Settings, error) {
	var s Settings
	if err := env.Load(&s); err != nil {
		return nil, err
	}
	common, err := env.Common()
	if err != nil {
		return nil, err
	}
	if s.ArtifactsURL == "" {
		s.ArtifactsURL = common.BaseURL
	}
	s.images = map[string]string{}
	for _, r := range runtimes.All() {
		s.images[r.Name] = r.Image
		if image := env.Vars["IMAGE_"+strings.ToUpper(r.Name)]; image != "" {
			s.images[r.Name] = image
		}
	}
	if s.profiles, err = profile.Open(env, s.checkProfiles); err != nil {
		return nil, err
	}
	return &s, nil
}

// Check finds settings with which no job could run.
func (s *Settings) Check() error {
	var errs []error
	if s.User < 1 {
		errs = append(errs, fmt.Errorf("JOB_USER: %d is root or no user; set at least 1", s.User))
	}
	if s.DataHostPath != "" && !path.IsAbs(s.DataHostPath) {
		errs = append(errs, fmt.Errorf("DATA_HOST_PATH: %q is not an absolute path", s.DataHostPath))
	}
	return errors.Join(append(errs, settings.CheckDurations(
		settings.Duration{Name: "KILL_GRACE", Value: s.Grace, Min: time.Second, Max: time.Hour},
		settings.Duration{Name: "COLLECT_TIMEOUT", Value: s.CollectTimeout, Min: time.Second, Max: 24 * time.Hour},
		settings.Duration{Name: "KEEP_FINISHED_JOBS", Value: s.KeepFinished, Min: minKeep, Max: 365 * 24 * time.Hour},
	))...)
}

// minKeep leaves the reaper, which comes every minute, several tries.
const minKeep = 5 * time.Minute

// image is the one to run a job's program in.
func (s *Settings) image(spec *job.Spec) string {
	if spec.Image != "" {
		return spec.Image
	}
	return s.images[spec.Runtime]
}
