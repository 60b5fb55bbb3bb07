package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The memory that the kernel takes for each object of a program, for objects whose size it does not
// report. The numbers were measured on Linux 6.18 and rounded up.
const (
	threadBytes  = 32 << 10 // task, stack, signals
	mappingBytes = 384      // vm_area_struct, its place in the tree, anon_vma
	fileBytes    = 1 << 10  // file, inode, and the object behind it
	lockBytes    = 256
	// terminalBytes is a pseudo-terminal with the unread bytes on both of its sides.
	terminalBytes = 64 << 10
	inotifyBytes  = 4 << 20 // events that nobody has read yet, up to fs.inotify.max_queued_events
)

// kernelObjects counts objects whose memory the figures of their processes do not include, such as
// sockets, pipes and locks.
type kernelObjects struct {
	device string
	buffer []byte

	mappings, files, inotify, locks int64
	pipes, sockets                  map[uint32]bool
	terminals                       map[string]bool
	queued                          int64 // in the buffers of sockets
	// anonymous shared memory by inode, which stays allocated when no page table refers to it
	shared  map[uint64]int64
	guessed map[uint64]int64 // the same, where only the size of the mapping is known
}

func newKernelObjects(m *meter) *kernelObjects {
	k := &kernelObjects{
		buffer: m.buffer, device: m.device, pipes: map[uint32]bool{}, sockets: map[uint32]bool{},
		terminals: map[string]bool{},
		shared:    map[uint64]int64{}, guessed: map[uint64]int64{},
	}
	return k
}

// bytes returns the memory of all objects except shared memory.
func (k *kernelObjects) bytes() int64 {
	return k.mappings*mappingBytes + k.files*fileBytes + k.inotify*inotifyBytes + k.locks*lockBytes +
		int64(len(k.pipes))*maxPipe + int64(len(k.terminals))*terminalBytes + k.queued
}

// sharedBytes returns the size of anonymous shared memory. If only the sizes of mappings are known,
// it is at most the shared memory of the whole machine minus others, the shared memory that is
// counted elsewhere.
func (k *kernelObjects) sharedBytes(others int64) int64 {
	var known, guessed int64
	for _, n := range k.shared {
		known += n
	}
	for inode, n := range k.guessed {
		if _, found := k.shared[inode]; !found {
			guessed += n
		}
	}
	if guessed > 0 {
		guessed = min(guessed, max(machineShared()-others-known, 0))
	}
	return known + guessed
}

// machineShared returns the shared memory of the whole machine, in memory or swapped out.
func machineShared() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 1 << 62
	}
	v := fields(text)
	return v["Shmem"] + v["SwapTotal"] - v["SwapFree"]
}

// add counts the objects of a process.
func (k *kernelObjects) add(p *process) {
	folder := filepath.Join("/proc", strconv.Itoa(p.pid))
	k.addMappings(folder)
	if err := k.addFiles(folder); errors.Is(err, os.ErrPermission) {
		k.files += p.slots * maxPipe / fileBytes // their kinds are unknown, so each counts as a full pipe
	}
}

func (k *kernelObjects) addMappings(folder string) {
	f, err := os.Open(filepath.Join(folder, "maps"))
	if err != nil {
		return // it has just ended
	}
	defer f.Close()
	for lines := k.scan(f); lines.Scan(); {
		line := lines.Bytes()
		k.mappings++
		if _, rest, _ := bytes.Cut(line, []byte(" ")); len(rest) > 3 && rest[3] == 's' {
			k.addShared(folder, string(line))
		}
	}
}

// addShared counts the memory of a line of maps, if it is anonymous shared memory. Its exact size
// can be read only with CAP_CHECKPOINT_RESTORE.
func (k *kernelObjects) addShared(folder, line string) {
	v := strings.Fields(line) // from-to, permissions, offset, device, inode, name
	if len(v) < 5 || v[3] != k.device || len(v) > 5 && strings.HasPrefix(v[5], "/SYSV") {
		return
	}
	inode, err := strconv.ParseUint(v[4], 10, 64)
	if err != nil {
		return
	}
	if _, known := k.shared[inode]; known {
		return
	}
	var st unix.Stat_t
	if unix.Stat(filepath.Join(folder, "map_files", mapFile(v[0])), &st) == nil && st.Ino == inode {
		k.shared[inode] = st.Blocks * 512
		return
	}
	from, to, _ := strings.Cut(v[0], "-")
	begin, _ := strconv.ParseUint(from, 16, 63)
	end, _ := strconv.ParseUint(to, 16, 63)
	offset, _ := strconv.ParseUint(v[2], 16, 63)
	k.guessed[inode] = max(k.guessed[inode], int64(offset+end-begin)) //nolint:gosec // of 63 bits
}

// mapFile returns the name in map_files of an address range in maps. Names in map_files are not
// padded with zeros.
func mapFile(addresses string) string {
	from, to, _ := strings.Cut(addresses, "-")
	strip := func(s string) string { return strings.TrimLeft(s[:len(s)-1], "0") + s[len(s)-1:] }
	return strip(from) + "-" + strip(to)
}

// addFiles counts the open files of a process.
func (k *kernelObjects) addFiles(folder string) error {
	dir, err := os.Open(filepath.Join(folder, "fd"))
	if err != nil {
		return err
	}
	defer dir.Close()
	target := make([]byte, 64)
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			n, err := unix.Readlinkat(int(dir.Fd()), name, target)
			if err != nil {
				continue // closed
			}
			if target[0] == '/' {
				k.addInfo(filepath.Join(folder, "fdinfo", name))
			}
			k.addFile(target[:n])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (k *kernelObjects) addFile(target []byte) {
	kind, rest, _ := bytes.Cut(target, []byte(":"))
	switch string(kind) {
	case "pipe":
		k.pipes[number(rest)] = true
	case "socket":
		k.sockets[number(rest)] = true
	case "anon_inode":
		if string(rest) == "inotify" {
			k.inotify++
		}
	}
	k.files++
}

// number reads "[123]".
func number(text []byte) uint32 {
	n, _ := strconv.ParseUint(string(bytes.Trim(text, "[]")), 10, 32) // the kernel writes a valid number
	return uint32(n)
}

// addInfo counts the locks that a process holds on a file. There can be any number of them, each on
// a part of the file, until the process closes it. addInfo also records which terminal an open
// /dev/ptmx belongs to.
func (k *kernelObjects) addInfo(path string) {
	f, err := os.Open(path)
	if err != nil {
		return // closed
	}
	defer f.Close()
	for lines := k.scan(f); lines.Scan(); {
		line := lines.Bytes()
		if bytes.HasPrefix(line, []byte("lock:")) {
			k.locks++
		}
		if index, found := bytes.CutPrefix(line, []byte("tty-index:")); found {
			k.terminals[string(index)] = true
		}
	}
}

// scan reads a file of proc line by line. The longest lines have a path, which is at most a page
// long.
func (k *kernelObjects) scan(f *os.File) *bufio.Scanner {
	s := bufio.NewScanner(f)
	s.Buffer(k.buffer, len(k.buffer))
	return s
}

// sharedDevice returns the device number of anonymous shared memory, as maps shows it.
func sharedDevice() string {
	const usual = "00:01"
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return usual
	}
	defer func() { _ = unix.Munmap(page) }()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return usual
	}
	begin := fmt.Sprintf("%08x-", uintptr(unsafe.Pointer(&page[0])))
	for line := range strings.Lines(string(text)) {
		if v := strings.Fields(line); strings.HasPrefix(line, begin) && len(v) > 3 {
			return v[3]
		}
	}
	return usual
}
