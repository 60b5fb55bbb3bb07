// Package sandbox starts a program apart from the machine it runs on, watches over what it uses,
// and ends it with all it has started. It needs Linux and no other software; elsewhere programs run
// unprotected, and it says so.
package sandbox

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"go-job-orchestrator/shared/spool"
)

// Mode says how much isolation is asked for.
type Mode string

// The modes.
const (
	Auto     Mode = "auto"     // the best there is
	Required Mode = "required" // nothing less than what keeps every promise
	Off      Mode = "off"      // none
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	switch Mode(text) {
	case Auto, Required, Off:
		*m = Mode(text)
		return nil
	}
	return fmt.Errorf("%q is none of auto, required, off", text)
}

// Level is how much isolation there is.
type Level string

// The levels. With Namespaces a program has its own view of files, processes and host name, and
// Landlock on top where the kernel has it. With Landlock it sees the machine's files and processes
// by name, and can open or signal none but its own. Both keep a program from the storage, from the
// server and from other programs. With None it can do what the server's user can.
const (
	Namespaces Level = "namespaces"
	Landlock   Level = "landlock"
	None       Level = "none"
)

// Config is what all programs have in common.
type Config struct {
	Mode Mode
	// ReadPaths are files and folders that programs may read and execute besides the system's own.
	ReadPaths []string
	// HidePaths are folders that no program may see, wherever they lie.
	HidePaths []string
	// WorkDir is a folder that all workspaces lie in. Where its file system has project quotas, they
	// hold the workspaces that Confine is asked for.
	WorkDir string
	Logger  *slog.Logger

	levels []Level // what to try, for tests; nil: all that Mode admits
}

// Limits says in words what holds a program to its cpu and memory.
type Limits struct{ CPU, Memory string }

// Usage is what a program's files take on the disk.
type Usage struct {
	Bytes int64
	// Uncounted tells that there are more which nobody can count: files without a name that the
	// program has sent to itself and not received.
	Uncounted bool
}

// Program is a program to be started.
type Program struct {
	Path string
	Args []string // without the program's own name
	Env  []string // all of it

	Workspace string // the working directory, with all rights
	Tmp       string // for temporary files, with all rights

	// Log takes what the program writes to its standard streams, which are pipes; none of it is kept
	// when it is zero.
	Log spool.Files
	// NonBlocking says that the program is known not to wait until what it writes was read; see
	// spool.Pipes.
	NonBlocking bool
	// Lock, if set, is kept open until nothing of the program lives, so that a lock on it tells.
	Lock *os.File

	// 0 is no limit, for each of these.
	CPUMillis      int64
	MemoryBytes    int64
	WorkspaceBytes int64 // of Workspace and Tmp together, on the disk
	WorkspaceFiles int64
	FileBytes      int64 // of each file
	LogBytes       int64 // kept of both streams together
	Processes      int
	OpenFiles      int // of each process
}

// Exit is how a program ended. Reason is empty when it ended by itself, by a signal or not.
type Exit struct {
	Code    int // 128+N for signal N
	Signal  syscall.Signal
	Reason  string
	Message string
}

// The reasons for which the sandbox ends a program, in Kubernetes' words, or cannot run it.
const (
	OOMKilled = "OOMKilled"
	Evicted   = "Evicted"
	CannotRun = "ContainerCannotRun"
)
