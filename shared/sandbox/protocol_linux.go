package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A program is started in two stages. Each is this executable again, under another name. The first,
// init, sets up namespaces and files, starts the second stage in them, and stays to watch it. The
// second, exec, drops its rights and becomes the program.
const (
	initName = "sandbox-init"
	execName = "sandbox-exec"
)

// The file descriptors of the stages.
const (
	controlFD = 3 // init: the server's end of a socket pair
	stdoutFD  = 4 // init: the files of the log
	stderrFD  = 5
	logFD     = 6
	lockFD    = 7
	requestFD = 3 // exec: what to do
	reportFD  = 4 // exec: why it could not become the program
)

// request tells init what to start, as one line of JSON. Arguments are bytes, because they need not
// be valid text.
type request struct {
	Level       Level
	Path        string
	Args, Env   [][]byte
	Mask        [][]byte // secrets, which are replaced in the log
	Workspace   string   // on the host
	Tmp         string
	ReadPaths   []string
	HidePaths   []string
	HasLock     bool
	HasStdin    bool
	HasLog      bool
	LogBytes    int64 // 0: no limit
	NonBlocking bool  // the program does not wait for its log to be read
	UID, GID    int   // of the program; -1: stays as it is
	OwnUserNS   bool  // in a user namespace of its own, where the kernel counts only its processes

	CPUs        []int // empty: all
	MemoryBytes int64 // watched; 0: no limit or enforced otherwise
	FileBytes   int64
	Processes   int
	OpenFiles   int
	Shared      int64 // bytes that files in /dev/shm may have
}

// Commands to init, one byte each. The end of the stream is also a command: the server has ended.
const (
	commandTerminate = 't'
	commandKill      = 'k'
)

// outcome is the last answer of init, as one line of JSON.
type outcome struct {
	Status  syscall.WaitStatus
	Reason  string
	Message string
	Fault   string // an error of the sandbox itself: the program did not run
}

// init becomes a stage if this process was started as one, and then does not return. If main called
// the stages instead, Go would first initialize every package that the program links, which takes
// longer than all the work of a stage. Go initializes packages in the order of their paths.
func init() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case initName:
		initMain()
	case execName:
		execMain()
	}
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

func readLine(r *bufio.Reader, v any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

func toBytes(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}

func toStrings(list [][]byte) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = string(b)
	}
	return out
}

// SignalName returns the name of a signal, such as SIGKILL, or "" for none.
func SignalName(s syscall.Signal) string {
	if s == 0 {
		return ""
	}
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}

// explain says why a program cannot be run.
func explain(path string, err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	switch errno {
	case syscall.ENOENT:
		return fmt.Sprintf("%s cannot be run: the file, or the interpreter that its first line names, does not exist", path)
	case syscall.EACCES:
		return path + " cannot be run: permission denied"
	case syscall.ENOEXEC:
		return path + " cannot be run: it is neither a program for this machine nor a script that begins with #!"
	case syscall.E2BIG:
		return path + " cannot be run: arguments and environment are too long"
	}
	return fmt.Sprintf("%s cannot be run: %s", path, errno.Error())
}
