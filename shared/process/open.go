package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/sandbox"
	"go-job-orchestrator/shared/spool"
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
	var errs [3]error
	errs[0] = env.Load(r.settings)
	common, err := env.Common()
	errs[1] = err
	r.store, errs[2] = env.Store()
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
	if h.lock, err = claimFolder(r.settings.WorkDir); err != nil {
		return nil, fmt.Errorf("WORK_DIR: %w", err)
	}
	if err := h.openSandbox(ctx, env, common.StorageDir); err != nil {
		return nil, err
	}
	r.trash = newTrash(filepath.Join(r.settings.WorkDir, "trash"), env.Log)
	r.floor = newFloor(r.settings.WorkDir, int64(r.settings.MinFree), env.Log)
	h.Launcher = newLauncher(h.Slots, int(r.settings.MaxQueued), env.Log, r.run)
	h.again = r.takeUp
	return h, nil
}

// Backend is the Host as the functions see it.
func (h *Host) Backend() backend.Backend {
	b := backend.Backend{Launcher: h, Stopper: h, Admission: h, Queue: h}
	for _, name := range h.Machine.Names() {
		if found, err := h.Machine.Lookup(name); err == nil {
			b.Runtimes = append(b.Runtimes, backend.Runtime{Name: name, Version: found.Version})
		}
	}
	return b
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
		Mode: r.settings.Sandbox, ReadPaths: read, HidePaths: []string{storage, r.settings.WorkDir},
		WorkDir: r.settings.WorkDir, Logger: env.Log,
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

// manyCPUs is how many thousandths of a CPU nobody asks for on a machine that has fewer, but who
// forgets the suffix m.
const manyCPUs = 100_000

// Check returns a fault when this machine could never run the job.
func (h *Host) Check(spec *job.Spec) error {
	if err := h.Machine.Check(spec.Runtime); err != nil {
		return err
	}
	// Other amounts are held to what there is. This one is a mistake.
	milli, _ := job.MilliCPU(spec.CPU)
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
	h.lock.Close()
}

// Recover queues the jobs that an earlier process left, in time that depends on their number alone.
// What has to do with their workspaces, in which a program can have left any amount, is done beside
// the serving: those that ran are recorded as interrupted, and what is left of ended ones is
// removed.
func (h *Host) Recover(ctx context.Context) error {
	workspaces, err := h.runner.workspaces()
	if err != nil {
		return fmt.Errorf("recover jobs: %w", err)
	}
	ids, err := h.runner.active(ctx)
	if err != nil {
		return fmt.Errorf("recover jobs: %w", err)
	}
	h.runner.left = make(map[job.ID]bool, len(ids))
	for _, id := range ids {
		h.runner.left[id] = true
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stopBackground = stop
	h.background.Go(func() { h.runner.trash.run(background) })
	h.background.Go(func() { h.runner.floor.run(background) })
	var over, begun []job.ID
	for id := range workspaces {
		if !h.runner.left[id] {
			over = append(over, id)
		}
	}
	h.background.Go(func() { h.runner.sweep(background, over) })
	for _, id := range ids {
		if workspaces[id] {
			begun = append(begun, id)
		} else if err := h.enqueue(ctx, id); err != nil {
			return err
		}
	}
	h.takeUp(ctx, begun)
	return nil
}

// active lists the jobs whose records are not complete.
func (r *runner) active(ctx context.Context) ([]job.ID, error) {
	const batch = 500
	var all []job.ID
	for after := job.ID(""); ; after = all[len(all)-1] {
		ids, err := r.ledger.Active(ctx, after, batch)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
		if len(ids) < batch {
			return all, nil
		}
	}
}

// workspaces lists the jobs that have one.
func (r *runner) workspaces() (map[job.ID]bool, error) {
	entries, err := os.ReadDir(r.settings.WorkDir)
	if err != nil {
		return nil, err
	}
	found := map[job.ID]bool{}
	for _, e := range entries {
		if id, err := job.ParseID(e.Name()); err == nil {
			found[id] = true
		}
	}
	return found, nil
}

// recover ends the attempt of a process that is no more. When ctx ends because this one stops, the
// next start does it.
func (r *runner) recover(
	ctx context.Context, index *job.Index, last job.Attempt, now <-chan struct{},
) (again bool, err error) {
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	w := r.workspace(index.JobID)
	if w.Exists() && !awaitHold(ctx, w.HoldPath(), 2*r.settings.Grace+time.Minute) {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, fmt.Errorf("its program is still running: %w", job.ErrUnavailable)
	}
	result, err := r.salvage(ctx, index, last.Number, now)
	if ctx.Err() != nil {
		return false, nil //nolint:nilerr // it was cut off
	}
	if err != nil {
		return false, err
	}
	r.log.Info("job was cut off", "job", index.JobID, "attempt", last.Number, "reason", result.Exit.Why())
	return true, r.endAttempt(ctx, index, last, result)
}

// untilInterrupted returns a context that ends with ctx only when that is because the server stops:
// what a cancelled job has left is stored.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), executor.ErrInterrupted) {
			stop()
		}
	})
	return keep, func() { unhook(); stop() }
}

// salvage stores what an attempt left whose server died.
func (r *runner) salvage(
	ctx context.Context, index *job.Index, number int, now <-chan struct{},
) (executor.Result, error) {
	if err := r.restoreLog(ctx, index.JobID); err != nil {
		return executor.Result{}, fmt.Errorf("restore the log: %w", err)
	}
	task := r.task(ctx, index, number)
	task.Now = now
	return task.Salvage(ctx), nil
}

// restoreLog makes the log in the workspace that which was shipped of it, if it has less. When the
// power failed it may have lost its end, since only what is shipped is flushed, and the workspace
// can be gone with the machine's temporary files.
func (r *runner) restoreLog(ctx context.Context, id job.ID) error {
	shipped, err := logstore.State(ctx, r.store, id)
	if err != nil || shipped.Next == 0 {
		return err
	}
	log, err := r.workspace(id).OpenLog()
	if err != nil {
		return err
	}
	defer log.Close()
	if whole, err := log.Holds(shipped.Position); err != nil || whole {
		return err
	}
	if err := log.Truncate(); err != nil {
		return err
	}
	reader := &logstore.Reader{Store: r.store, Records: r.ledger}
	every := logstore.Query{Streams: []spool.Stream{spool.Stdout, spool.Stderr}, Tail: logstore.All}
	_, err = reader.Copy(ctx, id, every, nil, logstore.Spool{Files: log})
	return err
}

// sweep removes the workspaces of jobs that are over or gone.
func (r *runner) sweep(ctx context.Context, ids []job.ID) {
	for _, id := range ids {
		if ctx.Err() != nil {
			return
		}
		if err := r.sweepOne(ctx, id); err != nil && ctx.Err() == nil {
			r.log.Warn("workspace not removed; the next start tries again", "job", id, "error", err)
		}
	}
}

func (r *runner) sweepOne(ctx context.Context, id job.ID) error {
	_, err := r.ledger.Index(ctx, id)
	over := errors.Is(err, job.ErrNotFound)
	if err == nil {
		over, err = r.ledger.Over(ctx, id)
	}
	if !over {
		return err
	}
	return r.clear(ctx, id)
}
