package sandbox

import (
	"context"
	"time"
)

// The pause between two looks at a workspace is watchShare times what a look takes, within bounds: a program can make a look
// take long, and must not gain time by it.
const (
	watchPeriod = 500 * time.Millisecond
	watchLatest = 2 * time.Second
	watchShare  = 10
)

// watcher ends a program whose workspace has become too large. Not every file system can set a limit to a folder, and
// without one a program can go beyond it for a moment.
type watcher struct{ stop context.CancelFunc }

// startWatcher watches the program of which init is the first process.
func startWatcher(p Program, init int, evict func(message string)) *watcher {
	ctx, stop := context.WithCancel(context.Background())
	if p.WorkspaceBytes > 0 || p.WorkspaceFiles > 0 {
		go watch(ctx, p, init, evict)
	}
	return &watcher{stop}
}

func watch(ctx context.Context, p Program, init int, evict func(string)) {
	pause := watchPeriod
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		begin := time.Now()
		if message := look(ctx, p, init); message != "" {
			evict(message)
			return
		}
		pause = watchPause(time.Since(begin))
	}
}

func watchPause(took time.Duration) time.Duration {
	return min(max(watchPeriod, watchShare*took), watchLatest)
}

// look says which limit the program's files pass, or nothing. It ends as soon as one is passed, so the limits bound it.
func look(ctx context.Context, p Program, init int) string {
	u := newUsage(p.WorkspaceFiles, p.WorkspaceBytes)
	u.named(ctx, &p)
	if u.excess() == "" {
		u.nameless(p.Workspace, descendants(init), false)
	}
	return u.excess()
}
