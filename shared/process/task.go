package process

import (
	"context"
	"io/fs"
	"path/filepath"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/spool"
)

func (r *runner) workspace(id job.ID) executor.Workspace {
	return executor.NewWorkspace(filepath.Join(r.settings.WorkDir, string(id)))
}

// task is an attempt of the job, ready to run.
func (r *runner) task(ctx context.Context, index *job.Index, number int) *executor.Task {
	b := &bucket{store: r.store, ledger: r.ledger, id: index.JobID}
	w := r.workspace(index.JobID)
	return &executor.Task{
		Index: index, Number: number, Workspace: w, From: b, To: b,
		Starter: r.evictor.starter(index.JobID, r.sandbox.starter(w, r.allowance(index))), Prepare: r.sandbox.Prepare,
		Ship: func(log spool.Files) executor.Shipper { return r.shipper(ctx, b, log) },
		Last: func(e executor.Exit) bool {
			return !index.MayRetry(number, e.Why(), &e.Code)
		},
		Grace: r.settings.Grace, StoreRetry: r.settings.RetryBackoff, Log: r.log,
		Limits: executor.OutputLimits{Files: int(r.settings.MaxOutputFiles), Bytes: int64(r.settings.MaxOutput),
			Room: r.room},
	}
}

// room reports whether so many bytes can be stored so that the storage stays above MIN_FREE_BYTES.
func (r *runner) room(bytes int64) bool {
	free, known := r.store.Free()
	return !known || free-bytes >= int64(r.settings.MinFree)
}

// equip gives a task the job's program, as it stands on this machine, and its secrets.
func (r *runner) equip(ctx context.Context, task *executor.Task) error {
	index := task.Index
	if err := r.checkProfile(index); err != nil {
		return err
	}
	kind, err := runtimes.Find(index.Runtime)
	if err != nil {
		return err
	}
	installed, err := r.machine.Lookup(index.Runtime)
	if err != nil {
		return err
	}
	files, temp := r.sandbox.paths(r.workspace(index.JobID))
	path, args := kind.Command(installed.Path, files, index)
	task.Build = func(uploaded fs.FS) (build, program []string, err error) {
		return kind.Build(uploaded, files, temp, index)
	}
	task.Explain = kind.Explain
	task.Command = executor.Command{
		Path: path, Args: args, NonBlocking: kind.NonBlocking, CPUMillis: index.CPUMillis(),
		MemoryBytes: index.MemoryBytes(),
		Env: withDefaults(append(executor.Environment(index, task.Number, files, temp, r.machine.SearchPath()),
			kind.Env(files, index)...), r.allowance(index).env),
	}
	if len(index.Secrets) > 0 {
		values, err := r.openSecrets(ctx, index)
		if err != nil {
			return err
		}
		task.Command.WithSecrets(values)
	}
	return nil
}

// lastTask is an attempt that no other follows, whatever its exit.
func (r *runner) lastTask(index *job.Index, number int) *executor.Task {
	t := r.task(context.Background(), index, number)
	t.Last = func(executor.Exit) bool { return true }
	return t
}

// shipper goes on where the log of an earlier attempt stopped.
func (r *runner) shipper(ctx context.Context, b *bucket, log spool.Files) executor.Shipper {
	state, err := logstore.State(ctx, r.store, b.id)
	if err != nil {
		r.log.Warn("live log begins anew", "job", b.id, "error", err)
	}
	s := joblog.NewShipper(log, state, b.PutLog)
	if r.store.IsDir() { // where a segment costs no request
		s.MinInterval = func() time.Duration { return minShipInterval(r.store.Watchers(ledger.LogPrefix(b.id))) }
	}
	return s
}

// intervalPerFollower is what each follower adds to the time between two segments of a log: all of
// them read every segment.
const intervalPerFollower = 5 * time.Millisecond

// minShipInterval is the time between two segments of a log that so many follow.
func minShipInterval(followers int) time.Duration {
	if followers == 0 {
		return joblog.Interval
	}
	return min(time.Duration(followers)*intervalPerFollower, joblog.Interval)
}
