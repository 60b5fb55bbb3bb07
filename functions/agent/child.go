package agent

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/mask"
	"go-job-orchestrator/shared/proctree"
	"go-job-orchestrator/shared/spool"
)

// starter starts the program as an ordinary child: what keeps it apart from the machine is the
// container around the agent. What keeps it from the agent's own files is in confine.go.
type starter struct {
	workspace executor.Workspace
	maxLog    int64
}

var _ executor.Starter = starter{}

func (s starter) Start(c executor.Command) (executor.Process, error) {
	w, err := spool.NewWriter(c.Log, s.maxLog)
	if err != nil {
		return nil, err
	}
	w.Mask(mask.New(c.Mask))
	pipes, err := spool.NewPipes(w, spool.User{UID: -1, GID: -1}, c.NonBlocking)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Environ(), Dir: s.workspace.Files(),
		Stdout: pipes.Stdout(), Stderr: pipes.Stderr(),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	kills, known := oomKills()
	var cannotRun error
	err = confined(s.workspace.Root(), []string{s.workspace.Files(), s.workspace.Temp()}, func() {
		cannotRun = cmd.Start()
	})
	go pipes.Run()
	if err != nil || cannotRun != nil {
		pipes.Finish()
		return failed{cannotRun}, err
	}
	// When memory runs out the program is to be killed, and this process left to tell of it. Where
	// that is not allowed, Kubernetes tells.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte(strconv.Itoa(1000)), 0)
	tree := proctree.New(cmd.Process.Pid, os.Getpid() == 1)
	return &child{tree: tree, kills: kills, known: known, pipes: pipes}, nil
}

// child is a program that runs.
type child struct {
	tree  *proctree.Tree
	kills int64 // how many processes had been killed for their memory before
	known bool
	pipes *spool.Pipes
}

func (c *child) Terminate() error {
	c.tree.Terminate()
	return nil
}

func (c *child) Kill() error {
	c.tree.Kill()
	return nil
}

// Wait returns once nothing of the program lives, so that nothing writes any more when the outputs
// are collected.
func (c *child) Wait() (executor.Exit, error) {
	status, err := c.tree.Wait()
	if err != nil {
		return executor.Exit{}, err
	}
	c.pipes.Finish()
	return c.exit(status), nil
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
	return executor.Exit{Code: 126, Reason: job.ReasonCannotRun, Message: "the program cannot be run: " + f.err.Error()},
		nil
}
