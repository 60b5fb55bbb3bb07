// Package sandbox starts a program isolated from the machine, limits what it uses, and ends it with
// everything it has started. It needs Linux and no other software. On other systems programs run
// without protection, and the package says so.
package sandbox

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"go-job-orchestrator/shared/spool"
)

// Mode is how much isolation is required.
type Mode string

// The modes.
const (
	Auto     Mode = "auto"     // the best that this machine allows
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

// Level is how much isolation a Sandbox has.
type Level string

// The levels. With Namespaces a program has its own view of files, processes and host name, and
// Landlock in addition if the kernel has it. With Landlock alone it sees the names of the machine's
// files and processes, but can open or signal only its own. At both levels a program cannot reach
// the storage, the server or other programs. With None it can do what the server's user can.
const (
	Namespaces Level = "namespaces"
	Landlock   Level = "landlock"
	None       Level = "none"
)

// Config is the configuration for all programs.
type Config struct {
	Mode Mode
	// ReadPaths are files and folders that programs may read and execute besides the system's own.
	ReadPaths []string
	// HidePaths are folders that no program may see, wherever they lie.
	HidePaths []string
	// WorkDir is a folder that all workspaces lie in. If its file system has project quotas, they
	// limit the workspaces that Confine makes.
	WorkDir string
	Logger  *slog.Logger

	levels []Level // the levels to try, for tests; nil: all that Mode allows
}

// Limits says in words what holds a program to its cpu and memory.
type Limits struct{ CPU, Memory string }

// Usage is the space that a program's files take on the disk.
type Usage struct {
	Bytes int64
	// Uncounted: there are more files, which cannot be counted: files without a name that the program
	// has sent to itself and not received.
	Uncounted bool
}

// Program is a program to start.
type Program struct {
	Path string
	Args []string // without the program's own name
	Env  []string // all of it

	// ReadPaths are files and folders that this program may read and execute besides those of Config.
	// CheckReadable has to admit them.
	ReadPaths []string

	Workspace string // the working directory, with all rights
	Tmp       string // for temporary files, with all rights

	// Stdin is what the program reads, from where the file stands. It is a regular file that everybody
	// may read, so that the program can open it again as /dev/stdin. If it is nil, the program reads
	// nothing.
	Stdin *os.File
	// Log keeps what the program writes to its standard streams, which are pipes. If it is zero,
	// nothing is kept.
	Log spool.Files
	// Mask are secrets, which are replaced in the log.
	Mask []string
	// NonBlocking: the program is known not to wait until its output is read; see spool.Pipes.
	NonBlocking bool
	// Lock, if set, stays open, and so locked, as long as a process of the program lives.
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

// Exit says how a program ended. Reason is empty if it ended by itself or by a signal.
type Exit struct {
	Code    int // 128+N for signal N
	Signal  syscall.Signal
	Reason  string
	Message string
}

// The reasons why the sandbox ends a program or cannot run it, in the words of Kubernetes.
const (
	OOMKilled = "OOMKilled"
	Evicted   = "Evicted"
	CannotRun = "ContainerCannotRun"
)
