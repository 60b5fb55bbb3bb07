package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memoryPeriod is how often the memory of a program is looked at where no cgroup holds it.
const memoryPeriod = 100 * time.Millisecond

// watchMemory ends the program when its processes have more memory than allowed. The function it returns ends
// the watching.
func (i *initStage) watchMemory() (stop func()) {
	done := make(chan struct{})
	if i.order.MemoryBytes == 0 {
		return func() {}
	}
	go func() {
		tick := time.NewTicker(memoryPeriod)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if i.memory() > i.order.MemoryBytes {
				i.mu.Lock()
				i.oom = true
				i.mu.Unlock()
				i.killAll()
				return
			}
		}
	}()
	return func() { close(done) }
}

// memory is what the program's processes have in memory and share with no file, in bytes.
func (i *initStage) memory() int64 {
	var total int64
	for _, pid := range i.processes() {
		total += privateMemory(pid)
	}
	return total
}

func (i *initStage) processes() []int {
	if !i.alone {
		return descendants(os.Getpid())
	}
	var pids []int
	for _, pid := range allProcesses() {
		if pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// privateMemory reads statm(5) of proc: resident less shared pages. Shared memory of the program's own making
// counts as well, since a file in /dev/shm is in memory.
func privateMemory(pid int) int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	var kilobytes int64
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "RssAnon" && name != "RssShmem" {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err == nil {
			kilobytes += n
		}
	}
	return kilobytes << 10
}

func allProcesses() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// descendants returns the processes that have pid as an ancestor. Orphans are among them where pid is the
// reaper of its tree.
func descendants(pid int) []int {
	children := map[int][]int{}
	for _, p := range allProcesses() {
		children[parent(p)] = append(children[parent(p)], p)
	}
	var all []int
	for next := children[pid]; len(next) > 0; {
		p := next[0]
		next = append(next[1:], children[p]...)
		all = append(all, p)
	}
	return all
}

// parent reads the fourth field of stat(5) of proc. The second may have blanks and parentheses in it.
func parent(pid int) int {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return -1
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return -1
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return -1
	}
	return ppid
}
