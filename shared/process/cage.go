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

// cage starts programs in the sandbox.
type cage struct {
	sandbox  *sandbox.Sandbox
	settings *Settings
}

// Limits says in words what will hold the job to its cpu and memory; nil when it has asked for
// neither.
func (c cage) Limits(index *job.Index) *job.Limits {
	cpu, memory := amounts(&index.Spec)
	if cpu == 0 && memory == 0 {
		return nil
	}
	l := c.sandbox.Limits(cpu, memory)
	return &job.Limits{CPU: l.CPU, Memory: l.Memory}
}

// amounts returns a specification's limits in numbers. They were validated when the job was
// submitted.
func amounts(s *job.Spec) (cpuMillis, memoryBytes int64) {
	if s.CPU != "" {
		cpuMillis, _ = job.MilliCPU(s.CPU)
	}
	if s.Memory != "" {
		memoryBytes, _ = job.Bytes(s.Memory)
	}
	return cpuMillis, memoryBytes
}

// Prepare gives a folder and what is in it to the user that programs run as.
func (c cage) Prepare(dir string) error { return c.sandbox.Prepare(dir) }

// paths returns where the program sees its workspace and its folder for temporary files.
func (c cage) paths(w executor.Workspace) (files, temp string) {
	return c.sandbox.Paths(w.Files(), w.Temp())
}

func (c cage) starter(w executor.Workspace) executor.Starter { return starter{c, w} }

type starter struct {
	cage
	workspace executor.Workspace
}

var _ executor.Starter = starter{}

func (s starter) Start(command executor.Command) (executor.Process, error) {
	hold, err := lockHold(s.workspace.HoldPath())
	if err != nil {
		return nil, err
	}
	defer hold.Close() // the sandbox keeps it open
	p, err := s.sandbox.Start(sandbox.Program{
		Path: command.Path, Args: command.Args, Env: command.Env,
		Workspace: s.workspace.Files(), Tmp: s.workspace.Temp(),
		Log: command.Log, NonBlocking: command.NonBlocking, LogBytes: int64(s.settings.MaxLog), Hold: hold,
		CPUMillis: command.CPUMillis, MemoryBytes: command.MemoryBytes,
		WorkspaceBytes: int64(s.settings.MaxWorkspace), WorkspaceFiles: int64(s.settings.MaxWorkspaceFiles),
		FileBytes: int64(s.settings.MaxWorkspace), Processes: int(s.settings.MaxProcesses),
		OpenFiles: int(s.settings.MaxOpenFiles),
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

// lockHold opens and locks the file that tells whether anything of the program may still live. The
// lock belongs to the open file, which the sandbox inherits.
func lockHold(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open hold: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("an earlier program of this job is still there: %w", err)
	}
	return f, nil
}

// awaitHold waits until nothing of an earlier program lives, and reports whether that came to be.
func awaitHold(ctx context.Context, path string, atMost time.Duration) bool {
	for end := time.Now().Add(atMost); ; backoff.Wait(ctx, 20*time.Millisecond) {
		f, err := lockHold(path)
		if err == nil {
			f.Close()
			return true
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return false
		}
	}
}
