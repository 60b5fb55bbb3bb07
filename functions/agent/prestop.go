package agent

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/executor"
)

// stoppableTimeout bounds how long the preStop hook delays the end of a container.
const stoppableTimeout = 10 * time.Second

// awaitStoppable is the preStop hook of both containers. It returns once the first process of the
// container handles SIGTERM, which Kubernetes sends next, and only once. A pod can be deleted at the
// very moment when a container starts, and the kernel drops a signal that the first process of a
// pid namespace does not handle yet (pid_namespaces(7)). The program would then run until the
// termination grace period of its pod is over.
func awaitStoppable(ctx context.Context, pid int) error {
	ctx, stop := context.WithTimeout(ctx, stoppableTimeout)
	defer stop()
	for {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil || stoppable(string(status)) { // without the file there is nothing to wait for
			return nil
		}
		if !backoff.Wait(ctx, lastPause) {
			return fmt.Errorf("process %d does not handle SIGTERM yet: %w", pid, ctx.Err())
		}
	}
}

// stoppable reports whether the text of /proc/PID/status (proc_pid_status(5)) is that of an agent
// that handles SIGTERM. The process has another name as long as the container runtime prepares it.
func stoppable(status string) bool {
	var name string
	var caught uint64
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); key {
		case "Name":
			name = value
		case "SigCgt":
			caught, _ = strconv.ParseUint(value, 16, 64)
		}
	}
	return name == executor.PodAgentName && caught&(1<<(syscall.SIGTERM-1)) != 0
}
