package follow

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// watch ends a connection on which nothing comes for too long. What the reader does between two
// reads, such as writing to a slow pipe, does not count.
type watch struct{ since atomic.Int64 } // wall clock in nanoseconds; 0 while nobody waits

// watch starts to watch a connection until ctx is done, and cancels it when it is dead.
func (f *Follower) watch(ctx context.Context, cancel context.CancelCauseFunc) *watch {
	w := &watch{}
	go func() {
		ticker := time.NewTicker(min(f.Silence/4, time.Second))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if since := w.since.Load(); since != 0 && time.Now().UnixNano()-since > int64(f.Silence) {
				cancel(errSilent)
				return
			}
		}
	}()
	return w
}

func (w *watch) begin() { w.since.Store(time.Now().UnixNano()) }
func (w *watch) end()   { w.since.Store(0) }

type watchedReader struct {
	in    io.Reader
	watch *watch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	r.watch.begin()
	defer r.watch.end()
	return r.in.Read(p)
}
