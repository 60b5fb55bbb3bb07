package status

import (
	"context"
	"errors"
	"sync"
	"time"

	"go-job-orchestrator/shared/job"
)

// How long it is until a job that is watched is observed again. Its end is in the records, which
// are looked at more often; what only its place knows, such as why an image cannot be pulled,
// seldom changes, and each observation is a call to the API that all of the cluster shares.
const (
	firstInterval = time.Second
	lastInterval  = 10 * time.Second
)

// pollers are the jobs that clients wait for. All clients of one job share what is observed of it.
type pollers struct {
	observer Observer
	warn     func(context.Context, job.ID, error)

	mu   sync.Mutex
	jobs map[job.ID]*poller
}

// poller observes one job for as long as somebody waits for it.
type poller struct {
	clients int // guarded by pollers.mu
	stop    context.CancelFunc
	begun   <-chan struct{} // closed after the first observation, or when that takes long
	sawOne  context.CancelFunc
	news    chan struct{} // has a value when wanted has changed

	mu     sync.Mutex
	wanted moment
	seen   observed
}

// moment is what the records say of a job at one time: what was observed at another says nothing
// about this one.
type moment struct {
	phase    job.Phase
	reason   job.Reason
	attempts int
}

func momentOf(s *job.Status) moment { return moment{s.Phase, s.Reason, len(s.Attempts)} }

// observed is what an observation came to, and what the records said when it was asked for.
type observed struct {
	at    moment
	saw   job.Observation
	fault error
}

// join returns the poller over a job, and what is to be called by who does not wait any longer.
func (w *pollers) join(ctx context.Context, id job.ID) (v *poller, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v = w.jobs[id]
	if v == nil {
		v = &poller{news: make(chan struct{}, 1)}
		ctx, v.stop = context.WithCancel(context.WithoutCancel(ctx)) // the client that came first may be the first to leave
		patience, sawOne := context.WithTimeout(ctx, firstInterval)
		v.begun, v.sawOne = patience.Done(), sawOne
		w.jobs[id] = v
		go v.keep(ctx, id, w.observer, w.warn)
	}
	v.clients++
	return v, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if v.clients--; v.clients == 0 {
			v.stop()
			delete(w.jobs, id)
		}
	}
}

// keep observes the job: at once when the records have changed, and the more seldom the longer an
// observation stays the same.
func (v *poller) keep(ctx context.Context, id job.ID, o Observer, warn func(context.Context, job.ID, error)) {
	var again <-chan time.Time
	interval := firstInterval
	for {
		select {
		case <-v.news:
			interval = firstInterval
		case <-again:
		case <-ctx.Done():
			return
		}
		s := observed{at: v.asked()}
		s.saw, s.fault = o.Observe(ctx, id)
		if ctx.Err() != nil {
			return
		}
		if s.fault != nil && !errors.Is(s.fault, job.ErrNotFound) {
			warn(ctx, id, s.fault)
		}
		if v.note(s) {
			interval = firstInterval
		}
		v.sawOne()
		again = time.After(interval)
		interval = min(2*interval, lastInterval)
	}
}

func (v *poller) asked() moment {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wanted
}

// note keeps what was observed and reports whether it is another than the one before.
func (v *poller) note(s observed) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed = !s.saw.Same(v.seen.saw) || (s.fault == nil) != (v.seen.fault == nil)
	v.seen = s
	return changed
}

// latest returns what was last observed while the records said this, and false when nothing was.
// Only the first observation is waited for, and not for long: what the records say must reach
// clients also when somebody else's API hangs.
func (v *poller) latest(ctx context.Context, now moment) (observed, bool) {
	v.mu.Lock()
	if v.wanted != now {
		v.wanted = now
		select {
		case v.news <- struct{}{}:
		default: // there are some already
		}
	}
	v.mu.Unlock()
	select {
	case <-v.begun:
	case <-ctx.Done():
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen, v.seen.at == now
}
