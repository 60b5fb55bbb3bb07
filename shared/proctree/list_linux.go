package proctree

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// Processes returns the processes of the program that live.
func (t *Tree) Processes() []int {
	if !t.alone {
		return Descendants(os.Getpid())
	}
	var pids []int
	for _, pid := range allProcesses() {
		if pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
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

// Descendants returns the processes that have pid as an ancestor. Orphans are among them where pid
// is the reaper of its tree.
func Descendants(pid int) []int {
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

// parent reads the fourth field of stat(5) of proc. The second may have blanks and parentheses in
// it.
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
