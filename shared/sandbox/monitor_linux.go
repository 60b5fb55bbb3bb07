package sandbox

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/proctree"
)

// The pause between two looks at a workspace is monitorShare times what a look takes, within
// bounds: a program can make a look take long, and must not gain time by it.
const (
	monitorPeriod   = 500 * time.Millisecond
	maxMonitorPause = 2 * time.Second
	monitorShare    = 10
)

// monitor ends a program whose workspace has become too large. Not every file system can set a
// limit to a folder, and without one a program can go beyond it for a moment.
type monitor struct{ stop context.CancelFunc }

// startMonitor starts the monitor of the program whose first process is init.
func startMonitor(p Program, init int, evict func(message string)) *monitor {
	ctx, stop := context.WithCancel(context.Background())
	if p.WorkspaceBytes > 0 || p.WorkspaceFiles > 0 {
		go monitorWorkspace(ctx, p, init, evict)
	}
	return &monitor{stop}
}

func monitorWorkspace(ctx context.Context, p Program, init int, evict func(string)) {
	pause, before := monitorPeriod, freeBytes(p.Workspace)
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		begin := time.Now()
		message := exceeded(ctx, p, init)
		if message == "" && hidesFiles(&p, init, before) {
			message = "files that it has sent over a socket and that were not received exceed the limit of the workspace " +
				"(MAX_WORKSPACE_BYTES)"
		}
		if message != "" {
			evict(message)
			return
		}
		pause = monitorPause(time.Since(begin))
	}
}

func monitorPause(took time.Duration) time.Duration {
	return min(max(monitorPeriod, monitorShare*took), maxMonitorPause)
}

// exceeded says which limit the program's files pass, or nothing. It ends as soon as one is passed,
// so the limits bound it.
func exceeded(ctx context.Context, p Program, init int) string {
	u := newUsage(p.WorkspaceFiles, p.WorkspaceBytes)
	u.named(ctx, &p)
	if u.excess() == "" {
		u.nameless(p.Workspace, proctree.Descendants(init), false)
	}
	return u.excess()
}

// hidesFiles reports whether files are on their way between two processes of the program, where
// nothing tells how large they are, while the disk has lost more than the program may have since it
// began.
func hidesFiles(p *Program, init int, before int64) bool {
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
