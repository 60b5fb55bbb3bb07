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

// What the kernel takes for each thing that a program has, where it does not say: measured on Linux
// 6.18, rounded up.
const (
	threadBytes  = 32 << 10 // task, stack, signals
	mappingBytes = 384      // vm_area_struct, its place in the tree, anon_vma
	fileBytes    = 1 << 10  // file, inode, what is behind it
	lockBytes    = 256
	// terminalBytes are a pseudo-terminal and what is written to it on both sides and not read.
	terminalBytes = 64 << 10
	inotifyBytes  = 4 << 20 // events that nobody has read yet, up to fs.inotify.max_queued_events
)

// holdings are what processes have that is in no figure of theirs.
type holdings struct {
	device string
	buffer []byte

	mappings, files, inotify, locks int64
	pipes, sockets                  map[uint32]bool
	terminals                       map[string]bool
	queued                          int64 // in the buffers of sockets
	// anonymous shared memory by inode: it stays when no process has it in its page tables
	shared  map[uint64]int64
	guessed map[uint64]int64 // the same where only the size of the mapping is known
}

func newHoldings(m *meter) *holdings {
	h := &holdings{
		buffer: m.buffer, device: m.device, pipes: map[uint32]bool{}, sockets: map[uint32]bool{},
		terminals: map[string]bool{},
		shared:    map[uint64]int64{}, guessed: map[uint64]int64{},
	}
	return h
}

// bytes is what all of it takes, but for shared memory.
func (h *holdings) bytes() int64 {
	return h.mappings*mappingBytes + h.files*fileBytes + h.inotify*inotifyBytes + h.locks*lockBytes +
		int64(len(h.pipes))*maxPipe + int64(len(h.terminals))*terminalBytes + h.queued
}

// sharedBytes is what anonymous shared memory takes. Where only the size of mappings is known it is
// no more than what the whole machine has of it; others is known to be something else.
func (h *holdings) sharedBytes(others int64) int64 {
	var known, guessed int64
	for _, n := range h.shared {
		known += n
	}
	for inode, n := range h.guessed {
		if _, found := h.shared[inode]; !found {
			guessed += n
		}
	}
	if guessed > 0 {
		guessed = min(guessed, max(machineShared()-others-known, 0))
	}
	return known + guessed
}

// machineShared is how much shared memory there is on the machine, swapped out or not.
func machineShared() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 1 << 62
	}
	v := fields(text)
	return v["Shmem"] + v["SwapTotal"] - v["SwapFree"]
}

// add reads what a process has.
func (h *holdings) add(p *process) {
	folder := filepath.Join("/proc", strconv.Itoa(p.pid))
	h.addMappings(folder)
	if err := h.addFiles(folder); errors.Is(err, os.ErrPermission) {
		h.files += p.slots * maxPipe / fileBytes // whatever they may be
	}
}

func (h *holdings) addMappings(folder string) {
	f, err := os.Open(filepath.Join(folder, "maps"))
	if err != nil {
		return // it has just ended
	}
	defer f.Close()
	for lines := h.scan(f); lines.Scan(); {
		line := lines.Bytes()
		h.mappings++
		if _, rest, _ := bytes.Cut(line, []byte(" ")); len(rest) > 3 && rest[3] == 's' {
			h.addShared(folder, string(line))
		}
	}
}

// addShared counts the memory behind a line of maps, if it is shared and in no file system that the
// program sees. How much there is can be read with CAP_CHECKPOINT_RESTORE.
func (h *holdings) addShared(folder, line string) {
	v := strings.Fields(line) // from-to, permissions, offset, device, inode, name
	if len(v) < 5 || v[3] != h.device || len(v) > 5 && strings.HasPrefix(v[5], "/SYSV") {
		return
	}
	inode, err := strconv.ParseUint(v[4], 10, 64)
	if err != nil {
		return
	}
	if _, known := h.shared[inode]; known {
		return
	}
	var st unix.Stat_t
	if unix.Stat(filepath.Join(folder, "map_files", mapFile(v[0])), &st) == nil && st.Ino == inode {
		h.shared[inode] = st.Blocks * 512
		return
	}
	from, to, _ := strings.Cut(v[0], "-")
	begin, _ := strconv.ParseUint(from, 16, 63)
	end, _ := strconv.ParseUint(to, 16, 63)
	offset, _ := strconv.ParseUint(v[2], 16, 63)
	h.guessed[inode] = max(h.guessed[inode], int64(offset+end-begin)) //nolint:gosec // of 63 bits
}

// mapFile is the name in map_files for a range of maps, which pads with zeros.
func mapFile(addresses string) string {
	from, to, _ := strings.Cut(addresses, "-")
	strip := func(s string) string { return strings.TrimLeft(s[:len(s)-1], "0") + s[len(s)-1:] }
	return strip(from) + "-" + strip(to)
}

// addFiles reads what files a process has open.
func (h *holdings) addFiles(folder string) error {
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
				h.addInfo(filepath.Join(folder, "fdinfo", name))
			}
			h.addFile(target[:n])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (h *holdings) addFile(target []byte) {
	kind, rest, _ := bytes.Cut(target, []byte(":"))
	switch string(kind) {
	case "pipe":
		h.pipes[number(rest)] = true
	case "socket":
		h.sockets[number(rest)] = true
	case "anon_inode":
		if string(rest) == "inotify" {
			h.inotify++
		}
	}
	h.files++
}

// number reads "[123]".
func number(text []byte) uint32 {
	n, _ := strconv.ParseUint(string(bytes.Trim(text, "[]")), 10, 32) // the kernel's
	return uint32(n)
}

// addInfo counts the locks that a process holds on a file: there can be any number, on parts of it.
// They are gone when it closes the file. And it notes which terminal is behind a file that one was
// made with.
func (h *holdings) addInfo(path string) {
	f, err := os.Open(path)
	if err != nil {
		return // closed
	}
	defer f.Close()
	for lines := h.scan(f); lines.Scan(); {
		line := lines.Bytes()
		if bytes.HasPrefix(line, []byte("lock:")) {
			h.locks++
		}
		if index, found := bytes.CutPrefix(line, []byte("tty-index:")); found {
			h.terminals[string(index)] = true
		}
	}
}

// scan reads a file of proc line by line. The longest lines have a path, of a page at most.
func (h *holdings) scan(f *os.File) *bufio.Scanner {
	s := bufio.NewScanner(f)
	s.Buffer(h.buffer, len(h.buffer))
	return s
}

// sharedDevice returns the device of anonymous shared memory, as it is written in maps.
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
