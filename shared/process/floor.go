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

// floor ends the job that has filled up the disk when less than MIN_FREE_BYTES is left of it: below
// that nobody can submit jobs. It holds also what limits of workspaces do not, such as many jobs
// that each keep to theirs.
type floor struct {
	min  int64
	free func() (int64, bool)
	log  *slog.Logger

	mu      sync.Mutex
	running map[job.ID]tenant
}

// tenant is a running program, as far as its room on the disk goes.
type tenant interface {
	Usage(ctx context.Context) sandbox.Usage
	Pause() (resume func())
	Evict(message string)
}

// How often the disk is looked at; and how long nobody is ended after somebody was, or after nobody
// was to blame: what he had is freed meanwhile, and measuring stops programs.
const (
	floorPeriod = 250 * time.Millisecond
	floorPause  = 5 * time.Second
)

func newFloor(dir string, min int64, log *slog.Logger) *floor {
	free := func() (int64, bool) {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			return 0, false
		}
		return int64(st.Bavail) * int64(st.Bsize), true //nolint:gosec,unconvert // types differ between systems
	}
	return &floor{min: min, free: free, log: log, running: map[job.ID]tenant{}}
}

// run watches the disk until ctx ends.
func (f *floor) run(ctx context.Context) {
	for backoff.Wait(ctx, floorPeriod) {
		if free, known := f.free(); !known || free >= f.min {
			continue
		}
		if f.evict(ctx) {
			f.await(ctx)
		}
	}
}

// await waits until there is room again, for floorPause at most.
func (f *floor) await(ctx context.Context) {
	for end := time.Now().Add(floorPause); time.Now().Before(end) && backoff.Wait(ctx, floorPeriod); {
		if free, known := f.free(); known && free >= f.min {
			return
		}
	}
}

// evict measures what the running jobs have on the disk, and ends the one that is to blame. It
// reports whether there were any.
func (f *floor) evict(ctx context.Context) bool {
	jobs := f.tenants()
	if len(jobs) == 0 {
		return false
	}
	used := make(map[job.ID]sandbox.Usage, len(jobs))
	for id, t := range jobs {
		resume := t.Pause()
		defer resume()
		used[id] = t.Usage(ctx)
	}
	free, known := f.free()
	if !known || free >= f.min || ctx.Err() != nil {
		return true
	}
	id, found := blame(used, f.min-free)
	if !found {
		f.log.Warn("the disk has less than MIN_FREE_BYTES free, and no running job is the cause", "free", free)
		return true
	}
	f.log.Warn("job ended: the disk has less than MIN_FREE_BYTES free, and the job uses most of it",
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

// blame picks the job that is to make room for so many bytes. One that has what nobody can count
// goes first: it could have any amount, and only it can bring that about. Then it is the one that
// has most now. Who writes last does not matter: else a job could take nearly all there is, and
// have others ended for the rest. When even that one has less than its share of what is missing,
// the jobs are not the cause.
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

func (f *floor) tenants() map[job.ID]tenant {
	f.mu.Lock()
	defer f.mu.Unlock()
	jobs := make(map[job.ID]tenant, len(f.running))
	for id, t := range f.running {
		jobs[id] = t
	}
	return jobs
}

// starter starts a job's programs so that they are known here while they run.
func (f *floor) starter(id job.ID, s executor.Starter) executor.Starter { return watched{s, f, id} }

type watched struct {
	executor.Starter
	floor *floor
	id    job.ID
}

func (w watched) Start(c executor.Command) (executor.Process, error) {
	p, err := w.Starter.Start(c)
	if err != nil {
		return nil, err
	}
	if t, ok := p.(tenant); ok {
		w.floor.mu.Lock()
		defer w.floor.mu.Unlock()
		w.floor.running[w.id] = t
	}
	return leaving{p, w}, nil
}

type leaving struct {
	executor.Process
	watched
}

func (l leaving) Wait() (executor.Exit, error) {
	defer func() {
		l.floor.mu.Lock()
		defer l.floor.mu.Unlock()
		delete(l.floor.running, l.id)
	}()
	return l.Process.Wait()
}
