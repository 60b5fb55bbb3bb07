package reap

import (
	"context"
	"time"
)

// Pusher sends what the records say of jobs to a collector; telemetry.Pusher is one.
type Pusher interface {
	// Push returns in bounded time, whatever becomes of it. reaped is the time of the last round without
	// an error; zero: it is not known.
	Push(ctx context.Context, reaped time.Time)
}

// push sends what the records say, if there is somewhere to.
func (f *Function) push(ctx context.Context) {
	if f.Push == nil {
		return
	}
	var reaped time.Time
	if last := f.reaped.Load(); last != nil {
		reaped = *last
	}
	f.Push.Push(ctx, reaped)
}

// noteReaped notes a round without an error.
func (f *Function) noteReaped() {
	now := f.Env.Now()
	f.reaped.Store(&now)
}

// pushEvery sends at each interval until ctx ends. It does not share the pace of rounds, since a
// collector that does not answer must not delay them.
func (f *Function) pushEvery(ctx context.Context) {
	if f.Push != nil {
		f.each(ctx, func() { f.push(ctx) })
	}
}
