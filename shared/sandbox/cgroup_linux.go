package sandbox

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// cgroup is a cgroup of version 2 that this process may divide among programs.
type cgroup struct {
	dir  string
	next atomic.Uint64
}

// controllers returns the controllers that enforcing limits by cgroups needs.
func controllers() []string { return []string{"cpu", "memory", "pids"} }

// findCgroup returns the cgroup that was delegated to this process, or nil. Programs get cgroups
// below it, next to one that the server moves to: a cgroup with processes of its own cannot hand
// controllers on (kernel documentation, admin-guide/cgroup-v2, "no internal process constraint").
func findCgroup(log *slog.Logger) *cgroup {
	dir, err := ownCgroup()
	if err != nil {
		return nil
	}
	offered, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	for _, c := range controllers() {
		if !slices.Contains(strings.Fields(string(offered)), c) {
			return nil
		}
	}
	if err := divide(dir); err != nil {
		log.Debug("cgroup not delegated", "dir", dir, "error", err)
		return nil
	}
	c := &cgroup{dir: dir}
	trial, err := c.make(Program{CPUMillis: 1000, MemoryBytes: 1 << 30, Processes: 1})
	if err != nil {
		log.Debug("cgroup not usable", "dir", dir, "error", err)
		return nil
	}
	trial.remove()
	return c
}

// ownCgroup returns the folder of this process's cgroup of version 2.
func ownCgroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mount, err := cgroupMount()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			return filepath.Join(mount, path), nil
		}
	}
	return "", os.ErrNotExist
}

// cgroupMount returns where cgroup2 is mounted, from mountinfo of proc(5).
func cgroupMount() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", os.ErrNotExist
}

// divide moves this process to a cgroup of its own below dir, and hands the controllers on.
func divide(dir string) error {
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	if got := strings.Fields(string(procs)); len(got) > 1 || len(got) == 1 && got[0] != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("the cgroup has other processes")
	}
	leaf := filepath.Join(dir, "server")
	if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	if err := write(leaf, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	return write(dir, "cgroup.subtree_control", "+"+strings.Join(controllers(), " +"))
}

func write(dir, name, value string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644) //nolint:gosec // the mode is the kernel's
}

// group is one program's cgroup.
type group struct {
	dir  string
	file *os.File
}

// cpuPeriod is that of cpu.max, in microseconds.
const cpuPeriod = 100_000

// make returns a cgroup with the program's limits, or nil if this process cannot make cgroups.
func (c *cgroup) make(p Program) (*group, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // nil is a group that limits nothing
	}
	g := &group{dir: filepath.Join(c.dir, fmt.Sprintf("job-%d-%d", os.Getpid(), c.next.Add(1)))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	if err := g.limit(p); err != nil {
		g.remove()
		return nil, fmt.Errorf("limit cgroup: %w", err)
	}
	return g, nil
}

func (g *group) limit(p Program) error {
	values := map[string]string{"memory.oom.group": "1"}
	if p.CPUMillis > 0 {
		values["cpu.max"] = fmt.Sprintf("%d %d", max(p.CPUMillis*cpuPeriod/1000, 1000), cpuPeriod)
	}
	if p.MemoryBytes > 0 {
		values["memory.max"] = strconv.FormatInt(p.MemoryBytes, 10)
		values["memory.swap.max"] = "0"
	}
	if p.Processes > 0 {
		values["pids.max"] = strconv.Itoa(p.Processes)
	}
	for name, value := range values {
		// a kernel without swap does not have the file
		if err := write(g.dir, name, value); err != nil && (!os.IsNotExist(err) || name != "memory.swap.max") {
			return err
		}
	}
	var err error
	g.file, err = os.Open(g.dir)
	return err
}

func (g *group) fd() int { return int(g.file.Fd()) }

// oomKilled reports whether the kernel ended a process because the memory was used up.
func (g *group) oomKilled() bool {
	if g == nil {
		return false
	}
	text, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if name, count, _ := strings.Cut(strings.TrimSpace(line), " "); name == "oom_kill" && count != "0" {
			return true
		}
	}
	return false
}

// removeTries is how often removing a cgroup is tried: the last process may need a moment to leave
// it.
const removeTries = 50

func (g *group) remove() {
	if g == nil {
		return
	}
	_ = write(g.dir, "cgroup.kill", "1") // all processes should have ended already
	if g.file != nil {
		g.file.Close()
	}
	for range removeTries {
		if err := os.Remove(g.dir); err == nil || os.IsNotExist(err) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
