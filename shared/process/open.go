package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/sandbox"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/secretfile"
)

// Local is the folder in STORAGE_DIR for what belongs to this machine and not to the bucket.
const Local = ".local"

// recordTries is how often a record is written before its job is left to the next start: with the
// pauses in between, over ten minutes.
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

	background     sync.WaitGroup
	stopBackground context.CancelFunc
}

// Open returns a Host for the jobs whose records these are. It looks for the runtimes, tries the
// sandbox and each runtime in it.
func Open(ctx context.Context, env *platform.Env, records *ledger.Ledger) (*Host, error) {
	r := &runner{settings: &Settings{}, ledger: records, now: env.Now, log: env.Log}
	var errs [5]error
	errs[0] = env.Load(r.settings)
	common, err := env.Common()
	errs[1] = err
	r.store, errs[2] = env.Store()
	r.keys, errs[3] = env.Keys()
	if r.settings.SecretsFile != "" {
		r.secrets, errs[4] = secretfile.Open(r.settings.SecretsFile, env.Now, env.Log)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if r.settings.WorkDir == "" {
		r.settings.WorkDir = filepath.Join(common.StorageDir, Local, "work")
	}
	if r.settings.WorkDir, err = filepath.Abs(r.settings.WorkDir); err != nil {
		return nil, fmt.Errorf("WORK_DIR: %w", err)
	}
	h := &Host{runner: r, drain: r.settings.DrainTimeout, Slots: int(r.settings.MaxConcurrent), stopBackground: func() {}}
	if h.Slots == 0 {
		h.Slots = runtime.NumCPU()
	}
	if r.packages, err = openPackages(env, r); err != nil {
		return nil, err
	}
	if h.lock, err = claimFolder(r.settings.WorkDir); err != nil {
		return nil, fmt.Errorf("WORK_DIR: %w", err)
	}
	if err := h.openSandbox(ctx, env, common.StorageDir); err != nil {
		return nil, err
	}
	if r.profiles, err = profile.Open(env, h.checkProfiles); err != nil {
		return nil, err
	}
	r.trash = newTrash(filepath.Join(r.settings.WorkDir, "trash"), env.Log)
	r.evictor = newEvictor(r.settings.WorkDir, int64(r.settings.MinFree), env.Log)
	h.Launcher = newLauncher(h.Slots, int(r.settings.MaxQueued), env.Log, r.run)
	h.resumeJob = r.resume
	return h, nil
}

// Backend is the Host as the functions see it.
func (h *Host) Backend() backend.Backend {
	b := backend.Backend{
		Launcher: h, Stopper: h, Admission: h, Queue: h, Secrets: h, Profiles: h.runner.profiles,
	}
	for _, name := range h.Machine.Names() {
		if found, err := h.Machine.Lookup(name); err == nil {
			b.Runtimes = append(b.Runtimes, backend.Runtime{Name: name, Version: found.Version})
		}
	}
	return b
}

// Entries implements secret.Catalog.
func (h *Host) Entries(ctx context.Context) ([]secret.Entry, error) {
	if h.runner.secrets == nil {
		return nil, nil
	}
	return h.runner.secrets.Entries(ctx)
}

// Describe says on one line what jobs run with.
func (h *Host) Describe() string {
	return fmt.Sprintf("runtimes: %s, sandbox: %s, %d jobs at a time", h.Machine, h.Sandbox.Describe(), h.Slots)
}

// claimFolder makes sure that no other process runs jobs in the folder: at its start each takes the
// jobs that were running there for interrupted.
func claimFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // programs of another user reach their workspace through it
		return nil, err
	}
	f, err := openLock(filepath.Join(dir, "lock"))
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
	read := slices.Concat(r.settings.ReadPaths, h.Machine.Folders(), r.packages.readable(env.Vars["PATH"]))
	h.Sandbox, err = sandbox.Open(ctx, sandbox.Config{
		Mode: r.settings.Sandbox, ReadPaths: read, HidePaths: []string{storage, r.settings.WorkDir},
		WorkDir: r.settings.WorkDir, Logger: env.Log,
	})
	if err != nil {
		return fmt.Errorf("SANDBOX: %w", err)
	}
	r.machine = h.Machine
	r.sandbox = jobSandbox{Sandbox: h.Sandbox, settings: r.settings}
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

// manyCPUs is how many thousandths of a CPU nobody asks for on a machine that has fewer, but who
// forgets the suffix m.
const manyCPUs = 100_000

// Check returns a fault when this machine could never run the job.
func (h *Host) Check(spec *job.Spec) error {
	if err := h.Machine.Check(spec.Runtime); err != nil {
		return err
	}
	// Other amounts are held to what there is. This one is a mistake.
	milli := spec.CPUMillis()
	if cpus := runtime.NumCPU(); milli >= manyCPUs && milli > int64(cpus)*1000 {
		return job.Invalid("cpu", fmt.Sprintf("%q are %d whole CPUs, and this machine has %d; did you mean %dm?",
			spec.CPU, milli/1000, cpus, milli/1000))
	}
	if spec.Image != "" {
		return job.Invalid("image", "images need Kubernetes; this server runs jobs as processes with what is installed on "+
			"it. Leave the field out")
	}
	if spec.Queue != "" {
		return job.Invalid("queue", "queues need Kubernetes with Kueue; this server has one queue for all jobs. Leave the "+
			"field out")
	}
	return nil
}

// Drain waits for running jobs for at most DRAIN_TIMEOUT, and ends those that still run then.
func (h *Host) Drain() {
	h.Launcher.Drain(h.drain)
	h.stopBackground()
	h.background.Wait()
	h.runner.packages.close()
	h.lock.Close()
}
