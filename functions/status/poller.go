package status

import (
	"context"
	"errors"
	"sync"
	"time"

	"go-job-orchestrator/shared/job"
)

// The intervals between two observations of a job that clients wait for. The end of a job is in the
// records, which are read more often. What only the observer sees, such as why an image cannot be
// pulled, seldom changes, and each observation is a call to the API that the whole cluster shares.
const (
	firstInterval = time.Second
	lastInterval  = 10 * time.Second
)

// pollers has a poller for each job that clients wait for. All clients of a job share its poller.
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
	begun   <-chan struct{} // closed after the first observation, or when it takes long
	sawOne  context.CancelFunc
	news    chan struct{} // has a value when wanted has changed

	mu     sync.Mutex
	wanted moment
	seen   observed
}

// moment identifies a state of the records of a job. An observation that was made in another state
// says nothing about this one.
type moment struct {
	phase    job.Phase
	reason   job.Reason
	attempts int
}

func momentOf(s *job.Status) moment { return moment{s.Phase, s.Reason, len(s.Attempts)} }

// observed is the result of an observation, and the state of the records when it began.
type observed struct {
	at    moment
	saw   job.Observation
	fault error
}

// join returns the poller of a job. The client has to call leave when it no longer waits.
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

// keep observes the job: at once when the records have changed, and less and less often while the
// observations stay the same.
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

// note keeps an observation and reports whether it differs from the one before.
func (v *poller) note(s observed) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed = !s.saw.Same(v.seen.saw) || (s.fault == nil) != (v.seen.fault == nil)
	v.seen = s
	return changed
}

// latest returns the last observation that was made in this state of the records, and false if
// there is none. It waits only for the first observation, and not for long, because clients must
// learn what the records say even when the observer hangs.
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
