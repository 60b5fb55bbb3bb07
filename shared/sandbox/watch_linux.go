package sandbox

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/proctree"
)

// The pause between two looks at a workspace is watchShare times what a look takes, within bounds:
// a program can make a look take long, and must not gain time by it.
const (
	watchPeriod = 500 * time.Millisecond
	watchLatest = 2 * time.Second
	watchShare  = 10
)

// watcher ends a program whose workspace has become too large. Not every file system can set a
// limit to a folder, and without one a program can go beyond it for a moment.
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
	pause, before := watchPeriod, freeBytes(p.Workspace)
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		begin := time.Now()
		message := look(ctx, p, init)
		if message == "" && hides(&p, init, before) {
			message = "files that it has sent over a socket and that were not received exceed the limit of the workspace " +
				"(MAX_WORKSPACE_BYTES)"
		}
		if message != "" {
			evict(message)
			return
		}
		pause = watchPause(time.Since(begin))
	}
}

func watchPause(took time.Duration) time.Duration {
	return min(max(watchPeriod, watchShare*took), watchLatest)
}

// look says which limit the program's files pass, or nothing. It ends as soon as one is passed, so
// the limits bound it.
func look(ctx context.Context, p Program, init int) string {
	u := newUsage(p.WorkspaceFiles, p.WorkspaceBytes)
	u.named(ctx, &p)
	if u.excess() == "" {
		u.nameless(p.Workspace, proctree.Descendants(init), false)
	}
	return u.excess()
}

// hides reports whether files are on their way between two processes of the program, where nothing
// tells how large they are, while the disk has lost more than the program may have since it began.
func hides(p *Program, init int, before int64) bool {
	if p.WorkspaceBytes == 0 || before-freeBytes(p.Workspace) <= p.WorkspaceBytes {
		return false
	}
	u := newUsage(0, 0)
	u.nameless(p.Workspace, proctree.Descendants(init), true)
	return u.inFlight
}

// freeBytes is what is free on the disk of a folder, or 0 when that is not known.
func freeBytes(dir string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0
	}
	return int64(fs.Bfree) * fs.Bsize //nolint:gosec // disks are smaller than that
}
