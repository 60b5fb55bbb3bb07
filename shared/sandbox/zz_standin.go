package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

type Mode string

func (m *Mode) UnmarshalText(b []byte) error { *m = Mode(b); return nil }

type Config struct {
	Mode                 Mode
	ReadPaths, HidePaths []string
	Logger               *slog.Logger
}
type Sandbox struct{}
type Limits struct{ CPU, Memory string }
type Program struct {
	Path                                                              string
	Args, Env                                                         []string
	Workspace, Tmp                                                    string
	Stdout, Stderr, Hold                                              *os.File
	CPUMillis, MemoryBytes, WorkspaceBytes, WorkspaceFiles, FileBytes int64
	Processes                                                         int
	ReadPaths                                                         []string
}
type Exit struct {
	Code            int
	Signal          syscall.Signal
	Reason, Message string
}
type Process struct{ cmd *exec.Cmd }

func Main()                                                {}
func Open(ctx context.Context, c Config) (*Sandbox, error) { return &Sandbox{}, nil }
func (s *Sandbox) Describe() string                        { return "none" }
func (s *Sandbox) Paths(a, b string) (string, string)      { return a, b }
func (s *Sandbox) Limits(a, b int64) Limits                { return Limits{} }
func (s *Sandbox) Prepare(dir string) error                { return nil }
func SignalName(s syscall.Signal) string {
	if s == 0 {
		return ""
	}
	return unix.SignalName(s)
}
func (s *Sandbox) Start(p Program) (*Process, error) {
	cmd := &exec.Cmd{Path: p.Path, Args: append([]string{p.Path}, p.Args...), Env: p.Env, Dir: p.Workspace, Stdout: p.Stdout, Stderr: p.Stderr, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	return &Process{cmd}, cmd.Start()
}
func (p *Process) Terminate() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) }
func (p *Process) Kill() error      { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
func (p *Process) Wait() (Exit, error) {
	err := p.cmd.Wait()
	var e *exec.ExitError
	if err != nil && !errors.As(err, &e) {
		return Exit{}, err
	}
	st := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if st.Signaled() {
		return Exit{Code: 128 + int(st.Signal()), Signal: st.Signal()}, nil
	}
	return Exit{Code: st.ExitStatus()}, nil
}
