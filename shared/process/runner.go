package process

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/secretfile"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// runner takes one job from where its records say it is to its end.
type runner struct {
	store       *store.Store
	ledger      *ledger.Ledger
	keys        token.Keys
	secrets     *secretfile.File // the operator's; nil: there are none
	machine     *runtimes.Machine
	sandbox     jobSandbox
	packages    *packages
	settings    *Settings
	profiles    *profile.File
	owner       string
	now         func() time.Time
	log         *slog.Logger
	interrupted map[job.ID]bool // the jobs that an earlier process has not brought to their end
	trash       *trash
	evictor     *evictor
}

// cancelPoll is how often a running job's records are looked at for a cancel by another process.
// One by this process takes effect at once.
const cancelPoll = time.Second

// run makes attempts until the job is over or ctx ends. What the ledger says is all it goes by, so
// it can be cut off and called again at any point. When removed is closed the program gets no more
// time to end by itself.
func (r *runner) run(ctx context.Context, id job.ID, removed <-chan struct{}) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	keep := context.WithoutCancel(ctx)
	index, err := r.ledger.Index(keep, id)
	if err != nil {
		if !errors.Is(err, job.ErrNotFound) { // else deleted while it waited
			r.log.Error("job not launched", "job", id, "error", err)
		}
		return
	}
	go r.pollCancel(ctx, id, cancel)
	for again := true; again; {
		again, err = r.advance(ctx, index, removed, r.next)
		if err != nil {
			r.log.Error("job not advanced; will be tried again", "job", id, "error", err)
			again = r.backOff(ctx, 1)
		}
	}
}

// resume brings a job that an earlier process has left to its end, or to where the next attempt is
// due, which it reports.
func (r *runner) resume(ctx context.Context, id job.ID, removed <-chan struct{}) (due bool) {
	index, err := r.ledger.Index(context.WithoutCancel(ctx), id)
	if errors.Is(err, job.ErrNotFound) {
		return false
	}
	stop := func(context.Context, *job.Index, []job.Attempt, <-chan struct{}) (bool, error) {
		due = true
		return false, nil
	}
	for again := err == nil; again && err == nil; {
		again, err = r.advance(ctx, index, removed, stop)
	}
	if err != nil { // one job must not keep all others from running
		r.log.Error("job not recovered; the next start tries again", "job", id, "error", err)
	}
	return due
}

func (r *runner) pollCancel(ctx context.Context, id job.ID, cancel context.CancelCauseFunc) {
	for backoff.Wait(ctx, cancelPoll) {
		if asked, err := r.ledger.CancelRequested(ctx, id); err == nil && asked {
			cancel(executor.ErrCancelled)
		}
	}
}

// attemptFunc makes the next attempt of a job, and reports whether there may be something else to
// do for it.
type attemptFunc func(ctx context.Context, index *job.Index, before []job.Attempt, removed <-chan struct{}) (again bool,

	err error)

// advance does the next thing that is due for the job, and reports whether there may be another.
func (r *runner) advance(
	ctx context.Context, index *job.Index, removed <-chan struct{}, attempt attemptFunc,
) (again bool, err error) {
	keep := context.WithoutCancel(ctx)
	over, err := r.ledger.Settle(keep, index.JobID, 0)
	if err != nil || over {
		return false, err
	}
	attempts, err := r.ledger.Attempts(keep, index.JobID)
	if err != nil {
		return false, err
	}
	cancelled, err := r.ledger.CancelRequested(keep, index.JobID)
	if err != nil {
		return false, err
	}
	v := executor.Judge(index, attempts, cancelled, r.now())
	switch {
	case v.Over:
		return false, r.finish(keep, index, attempts, v, removed)
	case v.Running && r.interrupted[index.JobID]:
		return r.recover(ctx, index, attempts[len(attempts)-1], removed)
	case v.Running:
		return false, nil // somebody else's
	case ctx.Err() != nil:
		return false, nil //nolint:nilerr // stopping; the next start goes on from here
	}
	return attempt(ctx, index, attempts, removed)
}

// next makes the next attempt when it is time.
func (r *runner) next(
	ctx context.Context, index *job.Index, before []job.Attempt, removed <-chan struct{},
) (again bool, err error) {
	if len(before) > 0 && !r.backOff(ctx, len(before)) {
		return true, nil // cancelled meanwhile
	}
	return r.attempt(ctx, index, before, removed)
}

// attempt makes the next attempt and records it.
func (r *runner) attempt(
	ctx context.Context, index *job.Index, before []job.Attempt, removed <-chan struct{},
) (again bool, err error) {
	keep := context.WithoutCancel(ctx)
	limits, from := r.confine(index), r.now().UTC()
	task := r.task(keep, index, len(before)+1)
	task.Removed = removed
	var unready *executor.Result
	equipErr := r.equip(keep, task)
	if equipErr == nil {
		unready, err = r.ready(ctx, task, before, from)
	}
	if ctx.Err() != nil {
		return true, nil // cancelled or stopping: the records say what follows
	}
	if err != nil {
		return false, err
	}
	var prepared *time.Time
	if task.Prepared {
		prepared = &from
	}
	a, err := r.ledger.StartPrepared(keep, index.JobID, len(before)+1, r.owner, limits, prepared)
	if errors.Is(err, job.ErrExists) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// Checked only now: a cancel is recorded before it looks for attempts, so one of the two sees the
	// other.
	if asked, err := r.ledger.CancelRequested(keep, index.JobID); err != nil || asked {
		return true, errors.Join(err, r.endAttempt(keep, index, a, executor.Result{
			Exit: executor.Exit{Reason: job.ReasonCancelled, Message: "cancelled before it was started"},
		}))
	}
	if equipErr != nil {
		return true, r.endAttempt(keep, index, a, executor.Result{
			Exit: executor.Exit{Reason: job.ReasonStartFailed, Message: equipErr.Error()},
		})
	}
	if unready != nil {
		return true, r.endAttempt(keep, index, a, task.Fail(keep, *unready))
	}
	if index.TimeoutSeconds > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadlineCause(ctx, index.Deadline(append(before, a)), executor.ErrDeadline)
		defer stop()
	}
	result := task.Run(ctx)
	return true, r.endAttempt(keep, index, a, result)
}

// confine makes the folder of the workspace, with what the kernel holds it to, and says what holds
// the job to its limits.
func (r *runner) confine(index *job.Index) *job.Limits {
	allowed := r.allowance(index)
	bytes, files := allowed.workspaceBytes, allowed.workspaceFiles
	root := r.workspace(index.JobID).Root()
	if err := r.sandbox.Confine(root, bytes, files); err != nil { // the attempt will say the same
		r.log.Warn("workspace not made", "job", index.JobID, "error", err)
	}
	limits := r.sandbox.limits(index)
	if limits == nil {
		limits = &job.Limits{CPU: "no limit", Memory: "no limit"}
	}
	limits.Workspace = r.sandbox.WorkspaceLimit(root, bytes, files)
	return limits
}

// endAttempt records an attempt and, when no other follows, what it left.
func (r *runner) endAttempt(ctx context.Context, index *job.Index, a job.Attempt, result executor.Result) error {
	a = result.Record(a, r.now())
	return r.persist(ctx, func() error { return r.ledger.EndAttempt(ctx, index.JobID, a) })
}

// finish records the end of the job, then clears up after it.
func (r *runner) finish(
	ctx context.Context, index *job.Index, attempts []job.Attempt, v executor.Verdict, removed <-chan struct{},
) error {
	t := v.Terminal(attempts, r.now())
	w := r.workspace(index.JobID)
	if t.Outputs == nil && w.Exists() { // ended between two attempts: the last one's outputs are the job's
		task := r.lastTask(index, len(attempts))
		task.Removed = removed
		t.Outputs = task.Salvage(ctx).Outputs
	}
	var recorded *job.Terminal
	err := r.persist(ctx, func() (err error) {
		recorded, _, err = r.ledger.Finish(ctx, index, t)
		return err
	})
	if err != nil {
		return err
	}
	r.log.Info("job over", "job", index.JobID, "phase", recorded.Phase, "reason", recorded.Reason)
	return r.clear(ctx, index.JobID)
}

// clear removes what is not needed any more once a job is over.
func (r *runner) clear(ctx context.Context, id job.ID) error {
	r.trash.discard(r.workspace(id))
	if err := logstore.Retire(ctx, r.store, id); err != nil {
		return err
	}
	asked, err := r.ledger.RemovalRequested(ctx, id)
	if err != nil || !asked {
		return err
	}
	if err := r.ledger.Remove(ctx, id); err != nil && !errors.Is(err, job.ErrNotFound) {
		return err
	}
	return nil
}

// persist repeats a write until it succeeds: a storage that is full or away for a while must not
// cost a job its ending. A write that failed for good is one of the others' business.
func (r *runner) persist(ctx context.Context, write func() error) error {
	for n := 1; ; n++ {
		err := write()
		if err == nil || n == recordTries {
			return err
		}
		r.log.Warn("record not written; trying again", "error", err)
		if !r.backOff(ctx, n) {
			return err
		}
	}
}

// backOff waits after so many tries, and reports whether ctx did not end meanwhile.
func (r *runner) backOff(ctx context.Context, tries int) bool {
	return backoff.Wait(ctx, backoff.Exponential(r.settings.RetryBackoff, maxBackoff, tries))
}

// maxBackoff bounds the pause between attempts.
const maxBackoff = time.Minute
