package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// starter starts the program as an ordinary child: what keeps it apart from the machine is the container around
// the agent.
type starter struct {
	dir    string
	maxLog int64
}

var _ executor.Starter = starter{}

func (s starter) Start(c executor.Command) (executor.Process, error) {
	w, err := spool.NewWriter(c.Log, s.maxLog)
	if err != nil {
		return nil, err
	}
	pipes, err := spool.NewPipes(w, spool.User{UID: -1, GID: -1}, c.NonBlocking)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: s.dir, Stdout: pipes.Stdout(), Stderr: pipes.Stderr(),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // its group is what signals go to
	}
	kills, known := oomKills()
	err = cmd.Start()
	go pipes.Run()
	if err != nil {
		pipes.Finish()
		return failed{err}, nil
	}
	// When memory runs out the program is to be killed, and this process left to tell of it. Where that is not allowed, Kubernetes tells.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte(strconv.Itoa(1000)), 0)
	return &child{pid: cmd.Process.Pid, kills: kills, known: known, pipes: pipes}, nil
}

// child is a program that runs. Its pid is not given to another process before Wait has returned.
type child struct {
	pid   int
	kills int64 // how many processes had been killed for their memory before
	known bool
	pipes *spool.Pipes
}

func (c *child) Terminate() error { return syscall.Kill(-c.pid, syscall.SIGTERM) }

func (c *child) Kill() error { return syscall.Kill(-c.pid, syscall.SIGKILL) }

// Wait also reaps what the program has left to the first process of its container, which this is, and ends all of that when the program has
// ended.
func (c *child) Wait() (executor.Exit, error) {
	var status unix.WaitStatus
	for {
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return executor.Exit{}, fmt.Errorf("wait for the program: %w", err)
		}
		if pid == c.pid && (status.Exited() || status.Signaled()) {
			break
		}
	}
	c.killRest()
	c.pipes.Finish()
	return c.exit(status), nil
}

// killRest ends whatever else lives, so that nothing writes any more when the outputs are collected.
func (c *child) killRest() {
	everything := -c.pid
	if os.Getpid() == 1 {
		everything = -1
	}
	_ = unix.Kill(everything, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return // no children are left
		}
	}
}

func (c *child) exit(status unix.WaitStatus) executor.Exit {
	e := executor.Exit{Code: status.ExitStatus()}
	if status.Signaled() {
		e = executor.Exit{Code: 128 + int(status.Signal()), Signal: unix.SignalName(status.Signal())}
	}
	kills, known := oomKills()
	if known && c.known && kills > c.kills && e.Code != 0 {
		e.Reason, e.Message = job.ReasonOOMKilled, "the program used more than its memory and was killed by the kernel"
	}
	return e
}

// failed is a program that could not be run at all.
type failed struct{ err error }

func (failed) Terminate() error { return nil }
func (failed) Kill() error      { return nil }

func (f failed) Wait() (executor.Exit, error) {
	return executor.Exit{Code: 126, Reason: job.ReasonCannotRun, Message: "the program cannot be run: " + f.err.Error()}, nil
}
