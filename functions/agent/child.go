package agent

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// starter starts the program as an ordinary child: what keeps it apart from the machine is the container around
// the agent.
type starter struct{ dir string }

var _ executor.Starter = starter{}

func (s starter) Start(c executor.Command) (executor.Process, error) {
	cmd := &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: s.dir, Stdout: c.Stdout, Stderr: c.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // its group is what signals go to
	}
	if err := cmd.Start(); err != nil {
		return failed{err}, nil
	}
	return &child{cmd}, nil
}

type child struct{ cmd *exec.Cmd }

func (c *child) Terminate() error { return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM) }

func (c *child) Kill() error { return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }

func (c *child) Wait() (executor.Exit, error) {
	err := c.cmd.Wait()
	_ = c.Kill() // what the program left behind in its group
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return executor.Exit{}, err
	}
	status, _ := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return executor.Exit{Code: 128 + int(status.Signal()), Signal: unix.SignalName(status.Signal())}, nil
	}
	return executor.Exit{Code: status.ExitStatus()}, nil
}

// failed is a program that could not be run at all.
type failed struct{ err error }

func (failed) Terminate() error { return nil }
func (failed) Kill() error      { return nil }

func (f failed) Wait() (executor.Exit, error) {
	return executor.Exit{Code: 126, Reason: job.ReasonCannotRun, Message: "the program cannot be run: " + f.err.Error()}, nil
}
