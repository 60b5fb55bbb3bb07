package sandbox

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/proctree"
)

// pauseRounds bounds how often Pause looks for processes that were started while it stopped others.
const pauseRounds = 20

// Pause stops the program and everything it has started, so that it cannot hide files by moving
// them while they are measured. resume continues the processes that were not stopped before.
func (p *Process) Pause() (resume func()) {
	stopped := map[int]bool{}
	for range pauseRounds {
		found := false
		for _, pid := range proctree.Descendants(p.cmd.Process.Pid) {
			if !stopped[pid] && !isStopped(pid) && unix.Kill(pid, unix.SIGSTOP) == nil {
				stopped[pid], found = true, true
			}
		}
		if !found {
			break
		}
	}
	return func() {
		for pid := range stopped {
			_ = unix.Kill(pid, unix.SIGCONT) // fails when the process has been ended
		}
	}
}

func isStopped(pid int) bool { s := processState(pid); return s == 'T' || s == 't' }

// processState returns the state of a process, the third field of proc's stat; 0: there is none.
func processState(pid int) byte {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) == 0 {
		return 0
	}
	return fields[0][0]
}

// Usage measures the space that the program's files take on the disk. It is more exact than the
// monitor, which measures all the time.
func (p *Process) Usage(ctx context.Context) Usage {
	if p.quota != nil {
		if n, err := p.quota.used(); err == nil {
			return Usage{Bytes: n}
		}
	}
	u := newUsage(0, 0)
	u.named(ctx, &p.program)
	u.nameless(p.program.Workspace, proctree.Descendants(p.cmd.Process.Pid), true)
	return Usage{Bytes: u.bytes, Uncounted: u.inFlight}
}
