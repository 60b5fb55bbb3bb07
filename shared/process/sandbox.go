package process

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/sandbox"
)

// jobSandbox is the sandbox with the limits that the settings give to every job.
type jobSandbox struct {
	*sandbox.Sandbox
	settings *Settings
}

// limits says in words what enforces the job's limits on cpu and memory; nil when it has neither.
func (s jobSandbox) limits(index *job.Index) *job.Limits {
	cpu, memory := index.CPUMillis(), index.MemoryBytes()
	if cpu == 0 && memory == 0 {
		return nil
	}
	l := s.Limits(cpu, memory)
	return &job.Limits{CPU: l.CPU, Memory: l.Memory}
}

// paths returns where the program sees its workspace and its folder for temporary files.
func (s jobSandbox) paths(w executor.Workspace) (files, temp string) {
	return s.Paths(w.Files(), w.Temp())
}

func (s jobSandbox) starter(w executor.Workspace, a allowance) executor.Starter {
	return starter{s, w, a}
}

// starter starts the program of one job in the sandbox.
type starter struct {
	sandbox   jobSandbox
	workspace executor.Workspace
	allowed   allowance
}

var _ executor.Starter = starter{}

func (s starter) Start(command executor.Command) (executor.Process, error) {
	lock, err := openLock(s.workspace.LockPath())
	if err != nil {
		return nil, err
	}
	defer lock.Close() // the sandbox keeps it open
	limits := s.sandbox.settings
	p, err := s.sandbox.Start(sandbox.Program{
		Path: command.Path, Args: command.Args, Env: command.Environ(),
		Workspace: s.workspace.Files(), Tmp: s.workspace.Temp(),
		Stdin: command.Stdin, Log: command.Log, Mask: command.Mask, NonBlocking: command.NonBlocking,
		LogBytes: int64(limits.MaxLog), Lock: lock,
		CPUMillis: command.CPUMillis, MemoryBytes: command.MemoryBytes,
		WorkspaceBytes: s.allowed.workspaceBytes, WorkspaceFiles: s.allowed.workspaceFiles,
		FileBytes: s.allowed.workspaceBytes, Processes: s.allowed.processes, OpenFiles: s.allowed.openFiles,
		ReadPaths: s.allowed.readPaths,
	})
	if err != nil {
		return nil, err
	}
	return child{p}, nil
}

type child struct{ *sandbox.Process }

func (c child) Wait() (executor.Exit, error) {
	e, err := c.Process.Wait()
	if err != nil {
		return executor.Exit{}, err
	}
	return executor.Exit{Code: e.Code, Signal: sandbox.SignalName(e.Signal), Reason: job.Reason(e.Reason),
		Message: e.Message}, nil
}

// openLock opens and locks the file that tells whether anything of the program may still live. The
// lock belongs to the open file, which the sandbox inherits.
func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("an earlier program of this job is still there: %w", err)
	}
	return f, nil
}

// awaitUnlocked waits until nothing of an earlier program lives, and reports whether that came to
// be.
func awaitUnlocked(ctx context.Context, path string, atMost time.Duration) bool {
	for end := time.Now().Add(atMost); ; backoff.Wait(ctx, 20*time.Millisecond) {
		f, err := openLock(path)
		if err == nil {
			f.Close()
			return true
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return false
		}
	}
}
