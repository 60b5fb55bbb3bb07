//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"go-job-orchestrator/shared/mask"
	"go-job-orchestrator/shared/spool"
)

// Sandbox starts programs without protection.
type Sandbox struct{}

// Open fails when isolation is required.
func Open(_ context.Context, c Config) (*Sandbox, error) {
	if c.Mode == Required {
		return nil, errors.New("isolation needs Linux")
	}
	return &Sandbox{}, nil
}

// Level is None.
func (s *Sandbox) Level() Level { return None }

// Describe says that programs are not isolated.
func (s *Sandbox) Describe() string { return "none (it needs Linux)" }

// Paths returns where a program sees its folders.
func (s *Sandbox) Paths(workspace, tmp string) (string, string) { return workspace, tmp }

// Limits says that no limit is enforced.
func (s *Sandbox) Limits(cpuMillis, memoryBytes int64) Limits {
	return Limits{CPU: "not enforced", Memory: "not enforced"}
}

// WorkspaceLimit says that the limits of a workspace are not enforced.
func (s *Sandbox) WorkspaceLimit(string, int64, int64) string { return "not enforced" }

// Confine makes the folder dir. Its limits are not enforced.
func (s *Sandbox) Confine(dir string, _, _ int64) error { return os.MkdirAll(dir, 0o700) }

// Prepare does nothing, because programs run as the server's user.
func (s *Sandbox) Prepare(string) error { return nil }

// CheckReadable admits every path, because programs can read all of them.
func (s *Sandbox) CheckReadable(string) error { return nil }

// Start starts a program.
func (s *Sandbox) Start(p Program) (*Process, error) {
	cmd := &exec.Cmd{
		Path: p.Path, Args: append([]string{p.Path}, p.Args...), Env: p.Env, Dir: p.Workspace,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if p.Stdin != nil {
		cmd.Stdin = p.Stdin
	}
	process := &Process{cmd: cmd}
	if p.Log.Order != nil {
		w, err := spool.NewWriter(p.Log, p.LogBytes)
		if err != nil {
			return nil, err
		}
		w.Mask(mask.New(p.Mask))
		cmd.Stdout, cmd.Stderr = w.Streams()
		process.log = w
	}
	if err := cmd.Start(); err != nil {
		return &Process{failed: err}, nil //nolint:nilerr // Wait returns it as the program's end
	}
	return process, nil
}

// Process is a started program.
type Process struct {
	cmd     *exec.Cmd
	log     *spool.Writer // nil: its output is not kept
	failed  error
	asked   atomic.Bool // to end
	evicted atomic.Pointer[string]
}

// Terminate asks the program and its group to end.
func (p *Process) Terminate() error {
	p.asked.Store(true)
	return p.signal(syscall.SIGTERM)
}

// Kill ends the program and its group.
func (p *Process) Kill() error { return p.signal(syscall.SIGKILL) }

func (p *Process) signal(s syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	return syscall.Kill(-p.cmd.Process.Pid, s)
}

// Usage is not known.
func (p *Process) Usage(context.Context) Usage { return Usage{} }

// Pause does nothing.
func (p *Process) Pause() (resume func()) { return func() {} }

// Evict ends the program.
func (p *Process) Evict(message string) { p.evicted.Store(&message); _ = p.Kill() }

// lookAgain is the pause between two checks whether a group still has processes.
const lookAgain = 20 * time.Millisecond

// Wait waits for the program.
func (p *Process) Wait() (Exit, error) {
	if p.failed != nil {
		return Exit{Code: 126, Reason: CannotRun, Message: "the program cannot be run: " + p.failed.Error()}, nil
	}
	err := p.cmd.Wait()
	for p.asked.Load() && p.signal(0) == nil { // the other processes of its group have time until Kill
		time.Sleep(lookAgain)
	}
	_ = p.Kill()
	if p.log != nil { // nobody writes any more
		p.log.Flush()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Exit{}, err
	}
	if message := p.evicted.Load(); message != nil {
		return Exit{Code: 128 + int(syscall.SIGKILL), Signal: syscall.SIGKILL, Reason: Evicted, Message: *message}, nil
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}, nil
	}
	return Exit{Code: status.ExitStatus()}, nil
}

// SignalName returns the name of a signal, or "" for none.
func SignalName(s syscall.Signal) string {
	if s == 0 {
		return ""
	}
	return s.String()
}
