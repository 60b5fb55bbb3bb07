package status

import (
	"context"
	"errors"
	"sync"
	"time"

	"go-job-orchestrator/shared/job"
)

// How long it is until a job that is watched is observed again. Its end is in the records, which are looked at more often; what only its
// place knows, such as why an image cannot be pulled, seldom changes, and each observation is a call to the API that all of the
// cluster shares.
const (
	firstRest = time.Second
	lastRest  = 10 * time.Second
)

// vigils are the jobs that clients wait for. All clients of one job share what is observed of it.
type vigils struct {
	observer Observer
	warn     func(context.Context, job.ID, error)

	mu   sync.Mutex
	jobs map[job.ID]*vigil
}

// vigil observes one job for as long as somebody waits for it.
type vigil struct {
	clients int // guarded by vigils.mu
	stop    context.CancelFunc
	begun   <-chan struct{} // closed after the first observation, or when that takes long
	seenOne context.CancelFunc
	news    chan struct{} // has a value when wanted has changed

	mu     sync.Mutex
	wanted moment
	seen   sighting
}

// moment is what the records say of a job at one time: what was observed at another says nothing about this one.
type moment struct {
	phase    job.Phase
	reason   job.Reason
	attempts int
}

func momentOf(s *job.Status) moment { return moment{s.Phase, s.Reason, len(s.Attempts)} }

// sighting is what an observation came to, and what the records said when it was asked for.
type sighting struct {
	at    moment
	saw   job.Observation
	fault error
}

// join returns the vigil over a job, and what is to be called by who does not wait any longer.
func (w *vigils) join(ctx context.Context, id job.ID) (v *vigil, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v = w.jobs[id]
	if v == nil {
		v = &vigil{news: make(chan struct{}, 1)}
		ctx, v.stop = context.WithCancel(context.WithoutCancel(ctx)) // the client that came first may be the first to leave
		patience, seenOne := context.WithTimeout(ctx, firstRest)
		v.begun, v.seenOne = patience.Done(), seenOne
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

// keep observes the job: at once when the records have changed, and the more seldom the longer an observation stays the same.
func (v *vigil) keep(ctx context.Context, id job.ID, o Observer, warn func(context.Context, job.ID, error)) {
	var again <-chan time.Time
	rest := firstRest
	for {
		select {
		case <-v.news:
			rest = firstRest
		case <-again:
		case <-ctx.Done():
			return
		}
		s := sighting{at: v.asked()}
		s.saw, s.fault = o.Observe(ctx, id)
		if ctx.Err() != nil {
			return
		}
		if s.fault != nil && !errors.Is(s.fault, job.ErrNotFound) {
			warn(ctx, id, s.fault)
		}
		if v.note(s) {
			rest = firstRest
		}
		v.seenOne()
		again = time.After(rest)
		rest = min(2*rest, lastRest)
	}
}

func (v *vigil) asked() moment {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wanted
}

// note keeps a sighting and reports whether it is another than the one before.
func (v *vigil) note(s sighting) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	changed = !s.saw.Same(v.seen.saw) || (s.fault == nil) != (v.seen.fault == nil)
	v.seen = s
	return changed
}

// sighted returns what was last observed while the records said this, and false when nothing was. Only the first observation is waited for,
// and not for long: what the records say must reach clients also when somebody else's API hangs.
func (v *vigil) sighted(ctx context.Context, now moment) (sighting, bool) {
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
