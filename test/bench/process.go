package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one that we started.
type process struct {
	cmd  *exec.Cmd
	addr string // where it listens
	log  string // the file with what it printed
	done bool
}

// url returns an address of a server.
func (p *process) url(path string) string { return "http://" + p.addr + path }

// spec says what to start.
type spec struct {
	path string
	args []string
	vars map[string]string
	root string // its root directory; empty: ours
}

// serve starts a server and waits for its first 200. The server ends with the row, if not before.
func (r *room) serve(ctx context.Context, s spec) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := r.start(ctx, s, "PORT="+port)
	if err != nil {
		return nil, err
	}
	p.addr = net.JoinHostPort("127.0.0.1", port)
	if err := p.ready(ctx); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, nil
}

func (r *room) start(ctx context.Context, s spec, vars ...string) (*process, error) {
	log, err := os.CreateTemp(r.dir, filepath.Base(s.path)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.CommandContext(ctx, s.path, s.args...), log: log.Name()}
	p.cmd.Env = append(vars, "PATH="+os.Getenv("PATH"), "TMPDIR="+r.dir)
	for name, value := range s.vars {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = jail(s.root)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.path, err)
	}
	r.atEnd(p.kill)
	return p, nil
}

// jail makes a process see root as its root directory, for programs that expect the paths of a pod.
// A user other than root needs a user namespace for it.
func jail(root string) *syscall.SysProcAttr {
	if root == "" {
		return nil
	}
	attr := &syscall.SysProcAttr{Chroot: root}
	if os.Geteuid() != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// The time a server has to answer, and between two tries. A port that is closed refuses at once, so
// trying costs the server nothing.
const (
	startTimeout = 20 * time.Second
	startPoll    = 500 * time.Microsecond
)

func (p *process) ready(ctx context.Context) error {
	end := time.Now().Add(startTimeout)
	for {
		err := p.healthy()
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil || !p.alive() {
			said, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s does not answer: %w: %s", p.cmd.Path, err, lastLine(said))
		}
		time.Sleep(startPoll)
	}
}

// alive reports whether the process has not ended. One that has is a zombie until kill.
func (p *process) alive() bool {
	stat, err := p.stat()
	return err == nil && stat[0] != "Z"
}

// healthy makes one small request.
func (p *process) healthy() error {
	conn, err := net.DialTimeout("tcp", p.addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", p.addr); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// kill ends the process, if it has not ended, and waits for it.
func (p *process) kill() error {
	if p.done {
		return nil
	}
	p.done = true
	_ = p.cmd.Process.Kill()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("end %s: %w", p.cmd.Path, err)
	}
	return nil
}

// wait waits until the process has ended by itself, without fault.
func (p *process) wait() error {
	p.done = true
	if err := p.cmd.Wait(); err != nil {
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s: %w: %s", p.cmd.Path, err, lastLine(said))
	}
	return nil
}

// used returns the CPU time of a process that has ended, and of those it waited for, in
// milliseconds.
func (p *process) used() float64 {
	return millis(p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime())
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ticks is how many a second the kernel counts CPU time in.
const ticks = 100

// cpu returns the CPU time of a process that runs, and of those it waited for, in seconds.
func (p *process) cpu() (float64, error) {
	stat, err := p.stat()
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, field := range stat[11:15] { // utime stime cutime cstime
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of %s: %w", p.cmd.Path, err)
		}
		sum += n
	}
	return sum / ticks, nil
}

// stat returns the fields of /proc/PID/stat from the third on, which is the state.
func (p *process) stat() ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return nil, err
	}
	text := string(data)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:]), nil
}

// resident returns the memory in use, in MiB.
func (p *process) resident() (float64, error) { return p.status("VmRSS") }

// peak returns the most memory there was in use since the process began, in MiB.
func (p *process) peak() (float64, error) { return p.status("VmHWM") }

func (p *process) status(name string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for entry := range strings.Lines(string(data)) {
		if value, found := strings.CutPrefix(entry, name+":"); found {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s of %s", name, p.cmd.Path)
}
