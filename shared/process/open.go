package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/sandbox"
)

// Local is the folder in STORAGE_DIR for what belongs to this machine and not to the bucket.
const Local = ".local"

// recordTries is how often a record is written before its job is left to the next start: with the pauses in
// between, over ten minutes.
const recordTries = 16

// Host is a machine that runs jobs as processes.
type Host struct {
	*Launcher
	runner  *runner
	Machine *runtimes.Machine
	Sandbox *sandbox.Sandbox
	Slots   int
	drain   time.Duration
	lock    *os.File
}

// Open returns a Host with what env has. It looks for the runtimes, tries the sandbox and each runtime in it.
func Open(ctx context.Context, env *platform.Env) (*Host, error) {
	r := &runner{settings: &Settings{}, now: env.Now, log: env.Log}
	var errs [4]error
	errs[0] = env.Load(r.settings)
	common, err := env.Common()
	errs[1] = err
	r.store, errs[2] = env.Store()
	r.ledger, errs[3] = event.OpenLedger(env)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if r.settings.WorkDir == "" {
		r.settings.WorkDir = filepath.Join(common.StorageDir, Local, "work")
	}
	if r.settings.WorkDir, err = filepath.Abs(r.settings.WorkDir); err != nil {
		return nil, fmt.Errorf("WORK_DIR: %w", err)
	}
	h := &Host{runner: r, drain: r.settings.DrainTimeout, Slots: int(r.settings.MaxConcurrent)}
	if h.Slots == 0 {
		h.Slots = runtime.NumCPU()
	}
	if h.lock, err = claimFolder(r.settings.WorkDir); err != nil {
		return nil, fmt.Errorf("WORK_DIR: %w", err)
	}
	if err := h.openSandbox(ctx, env, common.StorageDir); err != nil {
		return nil, err
	}
	h.Launcher = newLauncher(h.Slots, int(r.settings.MaxQueued), env.Log, r.run)
	return h, nil
}

// claimFolder makes sure that no other process runs jobs in the folder: at its start each takes the jobs that
// were running there for interrupted.
func claimFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // programs of another user reach their workspace through it
		return nil, err
	}
	f, err := lockHold(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("%s is in use by another server: %w", dir, err)
	}
	return f, nil
}

func (h *Host) openSandbox(ctx context.Context, env *platform.Env, storage string) error {
	r := h.runner
	storage, err := filepath.Abs(storage)
	if err != nil {
		return fmt.Errorf("STORAGE_DIR: %w", err)
	}
	h.Machine = runtimes.Detect(ctx, env.Vars["PATH"], env.Vars["HOME"])
	read := append(r.settings.ReadPaths, h.Machine.Folders()...)
	h.Sandbox, err = sandbox.Open(ctx, sandbox.Config{
		Mode: r.settings.Sandbox, ReadPaths: read, HidePaths: []string{storage, r.settings.WorkDir}, Logger: env.Log,
	})
	if err != nil {
		return fmt.Errorf("SANDBOX: %w", err)
	}
	r.machine = h.Machine
	r.cage = cage{sandbox: h.Sandbox, settings: r.settings}
	r.owner = fmt.Sprintf("%s/%d/%d", hostname(), os.Getpid(), env.Now().UnixNano())
	return nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// Check returns a fault when this machine could never run the job.
func (h *Host) Check(spec *job.Spec) error {
	if err := h.Machine.Check(spec.Runtime); err != nil {
		return err
	}
	if spec.Image != "" {
		return job.Invalid("image", "images need Kubernetes; this server runs jobs as processes with what is installed on it. Leave the field out")
	}
	if spec.Queue != "" {
		return job.Invalid("queue", "queues need Kubernetes with Kueue; this server has one queue for all jobs. Leave the field out")
	}
	return nil
}

// Drain waits for running jobs for at most DRAIN_TIMEOUT, and ends those that still run then.
func (h *Host) Drain() {
	h.Launcher.Drain(h.drain)
	h.lock.Close()
}

// Recover takes up the jobs that an earlier process left: those that ran are recorded as interrupted, and all
// that are not over are queued.
func (h *Host) Recover(ctx context.Context) error {
	const batch = 500
	for after := job.ID(""); ; {
		ids, err := h.runner.ledger.Active(ctx, after, batch)
		if err != nil {
			return fmt.Errorf("recover jobs: %w", err)
		}
		for _, id := range ids {
			after = id
			if err := h.runner.recover(ctx, id); err != nil {
				h.runner.log.Error("job not recovered; the next start tries again", "job", id, "error", err)
				continue // one job must not keep all others from running
			}
			if err := h.enqueue(ctx, id); err != nil {
				return err
			}
		}
		if len(ids) < batch {
			return h.runner.sweepWorkspaces(ctx)
		}
	}
}

// recover ends the attempt of a process that is no more.
func (r *runner) recover(ctx context.Context, id job.ID) error {
	index, err := r.ledger.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if over, err := r.ledger.Over(ctx, id); over || err != nil {
		return err
	}
	attempts, err := r.ledger.Attempts(ctx, id)
	if err != nil || len(attempts) == 0 || attempts[len(attempts)-1].FinishedAt != nil {
		return err
	}
	last := attempts[len(attempts)-1]
	w := r.workspace(id)
	if w.Exists() && !awaitHold(w.HoldPath(), 2*r.settings.Grace+time.Minute) {
		return fmt.Errorf("its program is still running: %w", job.ErrUnavailable)
	}
	result, err := r.salvage(ctx, index, last.Number)
	if err != nil {
		return err
	}
	r.log.Info("job was cut off", "job", id, "attempt", last.Number, "reason", result.Exit.Why())
	return r.endAttempt(ctx, index, last, result)
}

// salvage stores what an attempt left whose server died.
func (r *runner) salvage(ctx context.Context, index *job.Index, number int) (executor.Result, error) {
	if err := r.restoreLogs(ctx, index.JobID); err != nil {
		return executor.Result{}, fmt.Errorf("restore the log: %w", err)
	}
	return r.task(ctx, index, number).Salvage(ctx), nil
}

// restoreLogs appends to the logs in the workspace what was shipped of them and is not there. When the power failed they may have lost their end,
// since only what is shipped is flushed, and the workspace can be gone with the machine's temporary files.
func (r *runner) restoreLogs(ctx context.Context, id job.ID) error {
	shipped := &logstore.Reader{Store: r.store, Records: r.ledger}
	return r.workspace(id).CompleteLog(func(name string, size int64, end io.Writer) error {
		stream, from := joblog.Stdout, &joblog.Position{Stdout: size}
		if name == job.StderrFile {
			stream, from = joblog.Stderr, &joblog.Position{Stderr: size}
		}
		_, err := shipped.Copy(ctx, id, logstore.Query{Streams: []joblog.Stream{stream}, From: from}, nil, end)
		return err
	})
}

// sweepWorkspaces removes the folders of jobs that are over or gone.
func (r *runner) sweepWorkspaces(ctx context.Context) error {
	entries, err := os.ReadDir(r.settings.WorkDir)
	if err != nil {
		return fmt.Errorf("sweep workspaces: %w", err)
	}
	for _, e := range entries {
		id, err := job.ParseID(e.Name())
		if err != nil {
			continue
		}
		_, err = r.ledger.Index(ctx, id)
		over := errors.Is(err, job.ErrNotFound)
		if err == nil {
			over, err = r.ledger.Over(ctx, id)
		}
		if err != nil && !over {
			return err
		}
		if over {
			if err := r.clear(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}
