// Package process runs jobs as sandboxed child processes of this one, a bounded number at a time
// and in the order of their submission.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// Launcher queues jobs and runs them. Its queue can be lost at any time: which jobs are owed is in
// the ledger, and Recover reads it from there.
type Launcher struct {
	run       func(ctx context.Context, id job.ID, removed <-chan struct{})
	resumeJob func(ctx context.Context, id job.ID, removed <-chan struct{}) (due bool)
	log       *slog.Logger
	slots     int
	limit     int

	mu          sync.Mutex
	waiting     queue
	running     map[job.ID]runHandle
	interrupted []interruptedJob     // left by an earlier process, and waiting to be resumed
	resumable   map[job.ID]runHandle // the runs of those, and of those that are being resumed
	resuming    int
	admitted    int // submits that were let in and are not queued yet
	stopping    bool
	idle        *sync.Cond // signalled when a run ends
}

// runHandle ends a run: it cancels it, or says as well that its job is removed.
type runHandle struct {
	cancel  context.CancelCauseFunc
	remove  func()
	removed <-chan struct{} // closed by remove
}

func newRun(ctx context.Context) (context.Context, runHandle) {
	ctx, cancel := context.WithCancelCause(ctx)
	removed := make(chan struct{})
	return ctx, runHandle{cancel, sync.OnceFunc(func() { close(removed) }), removed}
}

// interruptedJob is a job that an earlier process has left in the middle of something.
type interruptedJob struct {
	id      job.ID
	ctx     context.Context //nolint:containedctx // that of its run, which may be stopped before it begins
	removed <-chan struct{}
}

// newLauncher returns a Launcher that has slots jobs run at a time, and lets limit jobs wait.
func newLauncher(slots, limit int, log *slog.Logger, run func(context.Context, job.ID, <-chan struct{})) *Launcher {
	l := &Launcher{
		run: run, log: log, slots: slots, limit: limit, running: map[job.ID]runHandle{}, resumable: map[job.ID]runHandle{},
	}
	l.idle = sync.NewCond(&l.mu)
	return l
}

// Launch queues the job. One that waits or runs already is left as it is, so that events may come
// twice.
func (l *Launcher) Launch(ctx context.Context, index *job.Index) error {
	return l.enqueue(ctx, index.JobID)
}

func (l *Launcher) enqueue(ctx context.Context, id job.ID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping {
		return fmt.Errorf("launch %s: %w: the server is stopping", id, job.ErrUnavailable)
	}
	if l.has(id) {
		return nil
	}
	l.waiting.add(id)
	l.dispatch(context.WithoutCancel(ctx))
	return nil
}

// Has reports whether the job waits, runs or is being resumed here: then it need not be launched.
func (l *Launcher) Has(id job.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.has(id)
}

// MaxConcurrent returns how many jobs run at a time.
func (l *Launcher) MaxConcurrent() int { return l.slots }

// Ahead returns how many jobs start before one that waits for a slot, and false for a job that does
// not wait.
func (l *Launcher) Ahead(id job.ID) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.ahead(id)
}

func (l *Launcher) has(id job.ID) bool {
	_, runs := l.running[id]
	_, left := l.resumable[id]
	return runs || left || l.waiting.has(id)
}

// resume brings jobs of an earlier process to where they can go on, beside the jobs that run and as
// many at a time: it can take long to collect what they left. Those that are due for another
// attempt are queued then.
func (l *Launcher) resume(ctx context.Context, ids []job.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	for _, id := range ids {
		runCtx, stop := newRun(ctx)
		l.resumable[id] = stop
		l.interrupted = append(l.interrupted, interruptedJob{id, runCtx, stop.removed})
	}
	l.dispatchInterrupted(ctx)
}

// dispatchInterrupted resumes jobs while slots are free. The caller holds the lock.
func (l *Launcher) dispatchInterrupted(ctx context.Context) {
	for !l.stopping && l.resuming < l.slots && len(l.interrupted) > 0 {
		next := l.interrupted[0]
		l.interrupted = l.interrupted[1:]
		l.resuming++
		go func() {
			due := false
			defer func() { l.resumed(ctx, next.id, due) }()
			due = l.resumeJob(next.ctx, next.id, next.removed)
		}()
	}
}

func (l *Launcher) resumed(ctx context.Context, id job.ID, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resumable[id].cancel(nil)
	delete(l.resumable, id)
	l.resuming--
	if due && !l.stopping {
		l.waiting.add(id)
	}
	l.dispatch(ctx)
	l.dispatchInterrupted(ctx)
	l.idle.Broadcast()
}

// dispatch starts waiting jobs while slots are free. The caller holds the lock.
func (l *Launcher) dispatch(ctx context.Context) {
	for !l.stopping && len(l.running) < l.slots && l.waiting.Len() > 0 {
		id := l.waiting.next()
		runCtx, stop := newRun(ctx)
		l.running[id] = stop
		go func() {
			defer l.ended(ctx, id, stop.cancel)
			l.run(runCtx, id, stop.removed)
		}()
	}
}

func (l *Launcher) ended(ctx context.Context, id job.ID, cancel context.CancelCauseFunc) {
	cancel(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.running, id)
	l.dispatch(ctx)
	l.idle.Broadcast()
}

// Stop ends a running job and takes a waiting one from the queue. It does not wait for the end.
// When remove is set nothing of the job will be kept, and it gets no time to end by itself.
func (l *Launcher) Stop(_ context.Context, id job.ID, remove bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.drop(id)
	for _, runs := range []map[job.ID]runHandle{l.running, l.resumable} {
		run, found := runs[id]
		if !found {
			continue
		}
		run.cancel(executor.ErrCancelled)
		if remove {
			run.remove()
		}
	}
	return nil
}

// Admit lets a job in that is about to be submitted, or returns an error of kind job.ErrUnavailable
// when too many wait. release must be called once the job is queued or given up.
func (l *Launcher) Admit() (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopping:
		return nil, job.Refuse(job.ErrUnavailable, "", "the server is stopping; try again in a few seconds")
	case l.waiting.Len()+l.admitted >= l.limit:
		return nil, job.Refuse(job.ErrUnavailable, "", fmt.Sprintf(
			"the queue is full: %d jobs wait (MAX_QUEUED_JOBS); try again when some have run", l.limit))
	}
	l.admitted++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.admitted--
	}), nil
}

// Drain starts no more jobs, waits for the running ones for at most the given time, and then ends
// them as interrupted. When it returns none runs. Waiting jobs are in the ledger for the next
// start.
func (l *Launcher) Drain(wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	for _, run := range l.resumable { // the next process does what is left of it
		run.cancel(executor.ErrInterrupted)
	}
	if len(l.running) > 0 {
		l.log.Info("waiting for running jobs", "jobs", len(l.running), "atMost", wait.String())
	}
	timer := time.AfterFunc(wait, l.interrupt)
	defer timer.Stop()
	for len(l.running)+l.resuming > 0 {
		l.idle.Wait()
	}
}

func (l *Launcher) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, run := range l.running {
		run.cancel(executor.ErrInterrupted)
	}
}
