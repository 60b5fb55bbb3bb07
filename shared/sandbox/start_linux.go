package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a started program.
type Process struct {
	cmd     *exec.Cmd
	control *os.File
	limited *group // its cgroup, or nil
	monitor *monitor
	program Program
	quota   *project // of the workspace; nil: the workspace is watched

	mu      sync.Mutex
	ended   bool
	evicted string
}

// Start starts a program. If the program cannot be executed, Wait returns that as its Exit.
func (s *Sandbox) Start(p Program) (*Process, error) { return s.start(p, false) }

func (s *Sandbox) start(p Program, probing bool) (*Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	defer theirs.Close()
	limited, err := s.cgroup.make(p)
	if err != nil {
		ours.Close()
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{initName}, Env: stageEnv(), Dir: "/",
		Stdin: or(p.Stdin, null), Stderr: os.Stderr,
		ExtraFiles: []*os.File{theirs, or(p.Log.Stdout, null), or(p.Log.Stderr, null), or(p.Log.Order, null),
			or(p.Lock, null)},
		SysProcAttr: s.attributes(limited),
	}
	req := s.request(p, limited != nil)
	if probing {
		req.Args = [][]byte{[]byte("--probe")}
	}
	if err := s.launch(cmd, ours, req); err != nil {
		ours.Close()
		limited.remove()
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	process := &Process{cmd: cmd, control: ours, limited: limited, program: p, quota: s.quota.of(p.Workspace)}
	if process.quota != nil {
		p.WorkspaceBytes, p.WorkspaceFiles = 0, 0 // the kernel enforces them
	}
	process.monitor = startMonitor(p, cmd.Process.Pid, process.Evict)
	return process, nil
}

// stageEnv is the environment of the stages, which do not need the server's. They do one thing
// after the other, so they do not need a thread for each CPU. Built with the race detector, they
// would sleep for a second before they end.
func stageEnv() []string { return []string{"GOMAXPROCS=1", "GORACE=atexit_sleep_ms=0"} }

func or(f, other *os.File) *os.File {
	if f == nil {
		return other
	}
	return f
}

func (s *Sandbox) launch(cmd *exec.Cmd, control *os.File, req *request) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := writeLine(control, req); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	return nil
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "sandbox-control"), os.NewFile(uintptr(fds[1]), "sandbox-control"), nil
}

// attributes returns the namespaces that init is started in.
func (s *Sandbox) attributes(limited *group) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if limited != nil {
		a.UseCgroupFD, a.CgroupFD = true, limited.fd()
	}
	if s.level != Namespaces {
		return a
	}
	a.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if s.user {
		inside := os.Getuid()
		if inside == 0 {
			inside = nobody // root of a user namespace would regain its rights at each exec
		}
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: os.Getgid(), Size: 1}}
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_PTRACE}
		if inside != os.Getuid() {
			a.Credential = &syscall.Credential{Uid: uint32(inside), Gid: uint32(inside), NoSetGroups: true}
		}
	}
	return a
}

func (s *Sandbox) request(p Program, limited bool) *request {
	uid, gid := s.programUser()
	req := &request{
		Level: s.level, Path: p.Path, Args: toBytes(p.Args), Env: toBytes(p.Env), Mask: toBytes(p.Mask),
		Workspace: p.Workspace, Tmp: p.Tmp,
		ReadPaths: sorted(s.config.ReadPaths, p.ReadPaths), HidePaths: s.config.HidePaths,
		HasLock: p.Lock != nil, HasStdin: p.Stdin != nil, HasLog: p.Log.Order != nil,
		LogBytes: p.LogBytes, NonBlocking: p.NonBlocking, UID: uid, GID: gid,
		OwnUserNS: s.ownUserNS, FileBytes: p.FileBytes, Processes: p.Processes,
		OpenFiles: p.OpenFiles, Shared: sharedMemory(p.MemoryBytes),
	}
	if !limited {
		req.CPUs, req.MemoryBytes = s.pick(p.CPUMillis), p.MemoryBytes
	}
	return req
}

// Terminate sends SIGTERM to the program and its group.
func (p *Process) Terminate() error { return p.command(commandTerminate) }

// Kill ends the program and everything it has started.
func (p *Process) Kill() error { return p.command(commandKill) }

func (p *Process) command(c byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	_, err := p.control.Write([]byte{c})
	if errors.Is(err, syscall.EPIPE) {
		return nil // it has just ended
	}
	return err
}

// Evict ends the program because its files take too much space.
func (p *Process) Evict(message string) {
	p.mu.Lock()
	p.evicted = message
	p.mu.Unlock()
	_ = p.Kill() // fails only when the program has ended
}

// Wait returns when the program and everything it has started have ended. It must be called once.
func (p *Process) Wait() (Exit, error) {
	var out outcome
	readErr := readLine(bufio.NewReader(p.control), &out)
	waitErr := p.cmd.Wait()
	p.monitor.stop()
	p.mu.Lock()
	p.ended = true
	evicted := p.evicted
	p.mu.Unlock()
	p.control.Close()
	oom := p.limited.oomKilled()
	p.limited.remove()
	switch {
	case readErr != nil && oom: // the kernel ends the whole group, init as well
		return Exit{Code: 128 + int(syscall.SIGKILL), Signal: syscall.SIGKILL, Reason: OOMKilled, Message: memoryMessage}, nil
	case readErr != nil && errors.Is(readErr, io.EOF):
		return Exit{}, fmt.Errorf("the sandbox ended without an answer: %w", errors.Join(waitErr, readErr))
	case readErr != nil:
		return Exit{}, fmt.Errorf("the sandbox's answer: %w", readErr)
	case out.Fault != "":
		return Exit{}, errors.New("the sandbox could not be set up: " + out.Fault)
	}
	exit := out.exit()
	switch {
	case evicted != "":
		exit.Reason, exit.Message = Evicted, evicted
	case oom:
		exit.Reason, exit.Message = OOMKilled, memoryMessage
	}
	return exit, nil
}

const memoryMessage = "the program used more memory than its limit"

func (o *outcome) exit() Exit {
	e := Exit{Reason: o.Reason, Message: o.Message}
	if o.Status.Signaled() {
		e.Signal = o.Status.Signal()
		e.Code = 128 + int(e.Signal)
	} else {
		e.Code = o.Status.ExitStatus()
	}
	return e
}
