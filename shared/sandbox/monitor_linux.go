package sandbox

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/proctree"
)

// The pause between two measurements of a workspace is monitorShare times as long as one takes. It
// is bounded, because a program can make a measurement slow and must not gain time by that.
const (
	monitorPeriod   = 500 * time.Millisecond
	maxMonitorPause = 2 * time.Second
	monitorShare    = 10
)

// monitor ends a program whose workspace has become too large. It is needed because not every file
// system can limit a folder. A program can exceed the limit until the next measurement.
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

// exceeded returns which limit the program's files exceed, or "". It stops at the first limit that
// is exceeded, so the limits bound its time.
func exceeded(ctx context.Context, p Program, init int) string {
	u := newUsage(p.WorkspaceFiles, p.WorkspaceBytes)
	u.named(ctx, &p)
	if u.excess() == "" {
		u.nameless(p.Workspace, proctree.Descendants(init), false)
	}
	return u.excess()
}

// hidesFiles reports whether the program sends open files from one process to another, where their
// size cannot be read, and the disk has lost more space since the program started than the program
// may use.
func hidesFiles(p *Program, init int, before int64) bool {
	if p.WorkspaceBytes == 0 || before-freeBytes(p.Workspace) <= p.WorkspaceBytes {
		return false
	}
	u := newUsage(0, 0)
	u.nameless(p.Workspace, proctree.Descendants(init), true)
	return u.inFlight
}

// freeBytes returns the free space on the disk of a folder, or 0 if it is not known.
func freeBytes(dir string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0
	}
	return int64(fs.Bfree) * fs.Bsize //nolint:gosec // disks are smaller than that
}
