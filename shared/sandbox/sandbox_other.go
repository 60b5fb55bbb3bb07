//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"os/exec"
	"syscall"

	"go-job-orchestrator/shared/spool"
)

// Sandbox is none.
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

// Describe says what there is.
func (s *Sandbox) Describe() string { return "none (it needs Linux)" }

// Paths returns where a program sees its folders.
func (s *Sandbox) Paths(workspace, tmp string) (string, string) { return workspace, tmp }

// Limits says what is in force.
func (s *Sandbox) Limits(cpuMillis, memoryBytes int64) Limits {
	return Limits{CPU: "not enforced", Memory: "not enforced"}
}

// Prepare gives a folder to the user of programs, which is this one.
func (s *Sandbox) Prepare(string) error { return nil }

// Start starts a program.
func (s *Sandbox) Start(p Program) (*Process, error) {
	cmd := &exec.Cmd{
		Path: p.Path, Args: append([]string{p.Path}, p.Args...), Env: p.Env, Dir: p.Workspace,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if p.Log.Order != nil {
		w, err := spool.NewWriter(p.Log, p.LogBytes)
		if err != nil {
			return nil, err
		}
		cmd.Stdout, cmd.Stderr = w.Streams()
	}
	if err := cmd.Start(); err != nil {
		return &Process{failed: err}, nil //nolint:nilerr // it is how the program ended
	}
	return &Process{cmd: cmd}, nil
}

// Process is a started program.
type Process struct {
	cmd    *exec.Cmd
	failed error
}

// Terminate asks the program to end.
func (p *Process) Terminate() error { return p.signal(syscall.SIGTERM) }

// Kill ends the program and its group.
func (p *Process) Kill() error { return p.signal(syscall.SIGKILL) }

func (p *Process) signal(s syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	return syscall.Kill(-p.cmd.Process.Pid, s)
}

// Wait waits for the program.
func (p *Process) Wait() (Exit, error) {
	if p.failed != nil {
		return Exit{Code: 126, Reason: CannotRun, Message: "the program cannot be run: " + p.failed.Error()}, nil
	}
	err := p.cmd.Wait()
	_ = p.Kill()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Exit{}, err
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
