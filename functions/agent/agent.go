// Package agent runs one job's program where the program is to run, and speaks to the rest over HTTP: it fetches
// the artifacts, executes the program and collects its logs and outputs.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/runtimes"
)

// Settings are the agent's own.
type Settings struct {
	BaseURL string        `env:"ORCH_BASE_URL" envDefault:"http://job-orchestrator:8080"`
	JobID   string        `env:"JOB_ID,required"`
	Token   string        `env:"JOB_TOKEN,required,unset"`
	WorkDir string        `env:"WORK_DIR" envDefault:"/workspace"`
	Attempt uint16        `env:"ATTEMPT" envDefault:"1"`
	Owner   string        `env:"POD_UID"` // tells two agents of one job apart; empty: made up
	Grace   time.Duration `env:"KILL_GRACE" envDefault:"10s"`
}

// The bounds of what is collected; the artifacts function has its own.
const (
	maxOutputFiles = 10_000
	maxOutputBytes = 4 << 30
)

// Agent runs one attempt of one job.
type Agent struct {
	client   *client
	settings Settings
	log      *slog.Logger
}

// New returns the agent of the job that the settings name.
func New(s Settings, log *slog.Logger) (*Agent, error) {
	id, err := job.ParseID(s.JobID)
	if err != nil {
		return nil, fmt.Errorf("JOB_ID: %w", err)
	}
	if s.Owner == "" {
		s.Owner = fmt.Sprintf("%d/%d", os.Getpid(), time.Now().UnixNano())
	}
	return &Agent{settings: s, log: log, client: &client{
		base: strings.TrimSuffix(s.BaseURL, "/"), id: id, token: s.Token, http: &http.Client{}, wait: 500 * time.Millisecond,
	}}, nil
}

// Run makes the attempt and returns the program's exit code. The job's records say how it went.
func (a *Agent) Run(ctx context.Context) (code int, err error) {
	index, err := a.client.index(ctx)
	if err != nil {
		return 0, err
	}
	attempt, err := a.client.startAttempt(ctx, int(a.settings.Attempt), a.settings.Owner)
	if err != nil {
		return 0, fmt.Errorf("claim the attempt: %w", err)
	}
	task, err := a.task(index)
	if err != nil {
		return 0, err
	}
	if index.TimeoutSeconds > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadlineCause(ctx, attempt.StartedAt.Add(time.Duration(index.TimeoutSeconds)*time.Second), executor.ErrDeadline)
		defer stop()
	}
	result := task.Run(ctx)
	return result.Exit.Code, a.report(context.WithoutCancel(ctx), index, attempt, result)
}

func (a *Agent) task(index *job.Index) (*executor.Task, error) {
	kind, err := runtimes.Find(index.Runtime)
	if err != nil {
		return nil, err
	}
	interpreter := ""
	if kind.Interpreter != "" {
		if interpreter, err = exec.LookPath(kind.Interpreter); err != nil {
			return nil, fmt.Errorf("runtime %s: %w", index.Runtime, err)
		}
	}
	w := executor.NewWorkspace(filepath.Join(a.settings.WorkDir, string(index.JobID)))
	task := &executor.Task{
		Index: index, Number: int(a.settings.Attempt), Workspace: w, From: a.client, To: a.client,
		Starter: starter{dir: w.Files()}, Grace: a.settings.Grace, StoreRetry: time.Second, Log: a.log,
		Ship: func(stdout, stderr *os.File) executor.Shipper {
			return joblog.NewShipper(stdout, stderr, joblog.State{}, a.client.PutLog)
		},
		Last:   func(executor.Exit) bool { return true },
		Limits: executor.OutputLimits{Files: maxOutputFiles, Bytes: maxOutputBytes},
	}
	task.Command.Path, task.Command.Args = kind.Command(interpreter, w.Files(), &index.Spec)
	task.Command.Env = executor.Environment(index, w.Files(), w.Temp(), os.Getenv("PATH"))
	if kind.Interpreter == "" {
		task.Executable = index.Entrypoint
	}
	return task, nil
}

// report records the attempt and the end of the job.
func (a *Agent) report(ctx context.Context, index *job.Index, attempt job.Attempt, result executor.Result) error {
	attempt = result.Record(attempt, time.Now())
	if err := a.client.endAttempt(ctx, attempt); err != nil {
		return err
	}
	once := *index
	once.Retries = 0 // another attempt would be another agent's
	attempts := []job.Attempt{attempt}
	v := executor.Judge(&once, attempts, false, time.Now())
	return a.client.finish(ctx, v.Terminal(attempts, time.Now()))
}
