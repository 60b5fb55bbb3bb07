package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/mask"
	"go-job-orchestrator/shared/proctree"
	"go-job-orchestrator/shared/spool"
)

// initMain is the first stage: it never returns.
func initMain() {
	runtime.LockOSThread() // capabilities, and being the parent of orphans, belong to a thread
	control := os.NewFile(controlFD, "control")
	keepPrivate(controlFD)
	out := runInit(control)
	// This fails when the server has ended; then nobody is left to tell.
	_ = writeLine(control, out)
	os.Exit(0)
}

// keepPrivate makes sure that no open file from fd on is inherited by what this process starts.
// These are the files from the server, and files that the server inherited from whoever started it.
func keepPrivate(fd uint) {
	if unix.CloseRange(fd, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	const most = 1 << 16 // for a kernel before 5.11, which does not have the call
	for ; fd < most; fd++ {
		unix.CloseOnExec(int(fd))
	}
}

func runInit(control *os.File) outcome {
	in := bufio.NewReader(control)
	var req request
	if err := readLine(in, &req); err != nil {
		return outcome{Fault: "read request: " + err.Error()}
	}
	if !req.HasLock {
		unix.Close(lockFD)
	}
	i := &initStage{request: &req, alone: req.Level == Namespaces}
	if err := i.prepare(); err != nil {
		return outcome{Fault: err.Error()}
	}
	if err := i.openLog(); err != nil {
		return outcome{Fault: err.Error()}
	}
	if err := i.spawn(); err != nil {
		return outcome{Fault: err.Error()}
	}
	go i.obey(in)
	stop := i.monitorMemory()
	out := i.reap()
	stop()
	if i.pipes != nil {
		i.pipes.Finish()
	}
	return out
}

// initStage is the parent of the program and of all its orphans.
type initStage struct {
	request *request
	alone   bool           // this process is the first in its pid namespace
	tree    *proctree.Tree // the program; set once it was started
	report  *os.File
	pipes   *spool.Pipes // the program's standard streams; nil: its output is not kept
	oom     atomic.Bool
}

// prepare protects this process from the program, and sets up the program's surroundings.
func (i *initStage) prepare() error {
	proctree.CatchSignals()
	if err := proctree.Adopt(); err != nil {
		return err
	}
	if i.alone {
		if err := i.request.setUpFiles(); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte(hostName)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
	}
	// The program may run as the same user as this process. It must not trace this process or read its
	// memory.
	return proctree.Hide()
}

// openLog makes the program's standard streams.
func (i *initStage) openLog() error {
	if !i.request.HasLog {
		return nil
	}
	files := spool.Files{
		Stdout: os.NewFile(stdoutFD, "stdout"), Stderr: os.NewFile(stderrFD, "stderr"), Order: os.NewFile(logFD, "order"),
	}
	w, err := spool.NewWriter(files, i.request.LogBytes)
	if err != nil {
		return err
	}
	w.Mask(mask.New(toStrings(i.request.Mask)))
	i.pipes, err = spool.NewPipes(w, spool.User{UID: i.request.UID, GID: i.request.GID}, i.request.NonBlocking)
	return err
}

// streams returns what the program gets as its standard streams.
func (i *initStage) streams(null *os.File) (stdin, stdout, stderr uintptr) {
	stdin = null.Fd()
	if i.request.HasStdin {
		stdin = os.Stdin.Fd() // which this process does not read
	}
	if i.pipes == nil {
		return stdin, null.Fd(), null.Fd()
	}
	return stdin, i.pipes.Stdout().Fd(), i.pipes.Stderr().Fd()
}

// spawn starts the second stage.
func (i *initStage) spawn() error {
	requestRead, requestWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer requestRead.Close()
	reportRead, reportWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reportWrite.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	attributes := i.request.programAttributes()
	// The ambient capabilities that this process got at its exec must not pass on to the program.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	stdin, stdout, stderr := i.streams(null)
	child, err := syscall.ForkExec("/proc/self/exe", []string{execName}, &syscall.ProcAttr{
		Dir: "/", Env: stageEnv(), Sys: attributes,
		Files: []uintptr{stdin, stdout, stderr, requestRead.Fd(), reportWrite.Fd()},
	})
	if err != nil {
		return fmt.Errorf("start the second stage: %w", err)
	}
	i.tree = proctree.New(child, i.alone)
	if i.pipes != nil {
		go i.pipes.Run()
	}
	i.report = reportRead
	dropCapabilities(true)
	defer requestWrite.Close()
	if err := writeLine(requestWrite, i.request); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("instruct the second stage: %w", err)
	}
	return nil
}

// programAttributes says which user the second stage runs as. The kernel counts processes by user
// and user namespace (setrlimit(2), RLIMIT_NPROC). In one namespace all programs would share one
// count, and one program could keep the others from starting processes.
func (req *request) programAttributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if req.UID < 0 {
		return a
	}
	a.Credential = &syscall.Credential{Uid: uint32(req.UID), Gid: uint32(req.GID)} //nolint:gosec // IDs
	if req.OwnUserNS {
		a.Cloneflags = unix.CLONE_NEWUSER
		// Root is mapped so that the program sees which files belong to root. The program cannot become
		// root, because it has no capability.
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1},
			{ContainerID: req.UID, HostID: req.UID, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1},
			{ContainerID: req.GID, HostID: req.GID, Size: 1}}
		a.GidMappingsEnableSetgroups = true // to drop the server's
	}
	return a
}

// dropCapabilities drops all capabilities. With monitor it keeps those that the first stage needs to
// end processes of another user, and to read how much memory a program has.
func dropCapabilities(monitor bool) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data, is [2]unix.CapUserData
	if monitor && unix.Capget(&header, &is[0]) == nil {
		for _, c := range []int{unix.CAP_KILL, unix.CAP_SYS_PTRACE, unix.CAP_CHECKPOINT_RESTORE} {
			data[c/32].Permitted |= is[c/32].Permitted & (1 << (c % 32))
			data[c/32].Effective = data[c/32].Permitted
		}
	}
	_ = unix.Capset(&header, &data[0]) // fails only when there is nothing to drop
}

// obey carries out the server's commands. When the server has ended, it kills the program.
func (i *initStage) obey(in *bufio.Reader) {
	for {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			i.tree.Kill()
			return
		case c == commandTerminate:
			i.tree.Terminate()
		case c == commandKill:
			i.tree.Kill()
		}
	}
}

// reap waits until all processes of the program have ended.
func (i *initStage) reap() outcome {
	status, err := i.tree.Wait()
	if err != nil {
		return outcome{Fault: err.Error()}
	}
	out := outcome{Status: syscall.WaitStatus(status)}
	i.explain(&out)
	return out
}

// explain adds to an outcome what only the first stage knows.
func (i *initStage) explain(out *outcome) {
	var r report
	if data, err := io.ReadAll(i.report); err == nil && len(data) > 0 && json.Unmarshal(data, &r) == nil {
		out.Reason, out.Message, out.Fault = r.Reason, r.Message, r.Fault
	}
	if i.oom.Load() {
		out.Reason, out.Message = OOMKilled, memoryMessage
	}
}
