package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
)

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
	h.runner.interrupted = make(map[job.ID]bool, len(ids))
	for _, id := range ids {
		h.runner.interrupted[id] = true
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stopBackground = stop
	h.background.Go(func() { h.runner.trash.run(background) })
	h.background.Go(func() { h.runner.evictor.run(background) })
	var over, begun []job.ID
	for id := range workspaces {
		if !h.runner.interrupted[id] {
			over = append(over, id)
		}
	}
	h.background.Go(func() { h.runner.sweep(background, over) })
	for _, id := range slices.Backward(ids) { // the oldest first, as they came
		if workspaces[id] {
			begun = append(begun, id)
		} else if err := h.enqueue(ctx, id); err != nil {
			return err
		}
	}
	h.resume(ctx, begun)
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
	ctx context.Context, index *job.Index, last job.Attempt, removed <-chan struct{},
) (again bool, err error) {
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	w := r.workspace(index.JobID)
	if w.Exists() && !awaitUnlocked(ctx, w.LockPath(), 2*r.settings.Grace+time.Minute) {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, fmt.Errorf("its program is still running: %w", job.ErrUnavailable)
	}
	result, err := r.salvage(ctx, index, last.Number, removed)
	if ctx.Err() != nil {
		return false, nil
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
	ctx context.Context, index *job.Index, number int, removed <-chan struct{},
) (executor.Result, error) {
	if err := r.restoreLog(ctx, index.JobID); err != nil {
		return executor.Result{}, fmt.Errorf("restore the log: %w", err)
	}
	task := r.task(ctx, index, number)
	task.Removed = removed
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
