package process

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/sandbox"
)

// evictor ends the job that has filled up the disk when less than MIN_FREE_BYTES is left of it:
// below that nobody can submit jobs. The limits of workspaces do not prevent this: many jobs can
// each keep to theirs and fill the disk together.
type evictor struct {
	min  int64
	free func() (int64, bool)
	log  *slog.Logger

	mu      sync.Mutex
	running map[job.ID]evictable
}

// evictable is a running program whose files on the disk can be measured, and that can be ended.
type evictable interface {
	Usage(ctx context.Context) sandbox.Usage
	Pause() (resume func())
	Evict(message string)
}

// How often the disk is looked at; and the pause after an eviction, or after none of the jobs was
// the cause: the files of the ended job are removed meanwhile, and measuring stops programs.
const (
	diskPeriod    = 250 * time.Millisecond
	evictionPause = 5 * time.Second
)

func newEvictor(dir string, min int64, log *slog.Logger) *evictor {
	free := func() (int64, bool) {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			return 0, false
		}
		return int64(st.Bavail) * int64(st.Bsize), true //nolint:gosec,unconvert // types differ between systems
	}
	return &evictor{min: min, free: free, log: log, running: map[job.ID]evictable{}}
}

// run watches the disk until ctx ends.
func (e *evictor) run(ctx context.Context) {
	for backoff.Wait(ctx, diskPeriod) {
		if free, known := e.free(); !known || free >= e.min {
			continue
		}
		if e.evict(ctx) {
			e.await(ctx)
		}
	}
}

// await waits until there is room again, for evictionPause at most.
func (e *evictor) await(ctx context.Context) {
	for end := time.Now().Add(evictionPause); time.Now().Before(end) && backoff.Wait(ctx, diskPeriod); {
		if free, known := e.free(); known && free >= e.min {
			return
		}
	}
}

// evict measures what the running jobs have on the disk, and ends the one that is to blame. It
// reports whether there were any.
func (e *evictor) evict(ctx context.Context) bool {
	jobs := e.programs()
	if len(jobs) == 0 {
		return false
	}
	used := make(map[job.ID]sandbox.Usage, len(jobs))
	for id, t := range jobs {
		resume := t.Pause()
		defer resume()
		used[id] = t.Usage(ctx)
	}
	free, known := e.free()
	if !known || free >= e.min || ctx.Err() != nil {
		return true
	}
	id, found := blame(used, e.min-free)
	if !found {
		e.log.Warn("the disk has less than MIN_FREE_BYTES free, and no running job is the cause", "free", free)
		return true
	}
	e.log.Warn("job ended: the disk has less than MIN_FREE_BYTES free, and the job uses most of it",
		"job", id, "free", free, "bytes", used[id].Bytes, "uncounted", used[id].Uncounted)
	jobs[id].Evict(evicted(used[id]))
	return true
}

func evicted(u sandbox.Usage) string {
	const full = "the server's disk was nearly full (MIN_FREE_BYTES), and "
	if u.Uncounted {
		return full + "the job kept files open that it had removed and sent to itself over a socket, which cannot be counted"
	}
	return full + fmt.Sprintf("of all running jobs this one used most of it: %d bytes", u.Bytes)
}

// blame picks the job to end so that so many bytes become free. A job with files that cannot be
// counted comes first: it could have any amount, and nothing but the job itself brings that about.
// Then comes the job that has most now. Which one wrote last does not matter: otherwise a job could
// take nearly the whole disk, and others would be ended for the little that they add. When even the
// largest has less than its share of what is missing, the jobs are not the cause.
func blame(used map[job.ID]sandbox.Usage, missing int64) (job.ID, bool) {
	var first job.ID
	more := func(a, b sandbox.Usage) bool {
		if a.Uncounted != b.Uncounted {
			return a.Uncounted
		}
		return a.Bytes > b.Bytes
	}
	for id, u := range used {
		if first == "" || more(u, used[first]) || !more(used[first], u) && id < first {
			first = id
		}
	}
	if first == "" {
		return "", false
	}
	return first, used[first].Uncounted || used[first].Bytes >= missing/int64(len(used))
}

func (e *evictor) programs() map[job.ID]evictable {
	e.mu.Lock()
	defer e.mu.Unlock()
	jobs := make(map[job.ID]evictable, len(e.running))
	for id, t := range e.running {
		jobs[id] = t
	}
	return jobs
}

// starter starts a job's programs so that the evictor knows them while they run.
func (e *evictor) starter(id job.ID, s executor.Starter) executor.Starter {
	return trackedStarter{s, e, id}
}

type trackedStarter struct {
	executor.Starter
	evictor *evictor
	id      job.ID
}

func (w trackedStarter) Start(c executor.Command) (executor.Process, error) {
	p, err := w.Starter.Start(c)
	if err != nil {
		return nil, err
	}
	if t, ok := p.(evictable); ok {
		w.evictor.mu.Lock()
		defer w.evictor.mu.Unlock()
		w.evictor.running[w.id] = t
	}
	return trackedProcess{p, w}, nil
}

type trackedProcess struct {
	executor.Process
	trackedStarter
}

func (l trackedProcess) Wait() (executor.Exit, error) {
	defer func() {
		l.evictor.mu.Lock()
		defer l.evictor.mu.Unlock()
		delete(l.evictor.running, l.id)
	}()
	return l.Process.Wait()
}
