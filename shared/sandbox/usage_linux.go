package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/fstree"
)

// usage counts the disk space of a program's files.
type usage struct {
	maxFiles, maxBytes int64
	files, bytes       int64
	seen               map[inode]bool // files with several names, or without one, count once
	deep               bool
	inFlight           bool // some files cannot be counted, because they are being sent between two processes
}

type inode struct{ device, number uint64 }

// newUsage returns a usage that counts up to the limits. 0 is no limit.
func newUsage(files, bytes int64) *usage {
	u := &usage{maxFiles: files, maxBytes: bytes, seen: map[inode]bool{}}
	if files == 0 {
		u.maxFiles = math.MaxInt64
	}
	if bytes == 0 {
		u.maxBytes = math.MaxInt64
	}
	return u
}

// excess says which limit was exceeded, or returns "".
func (u *usage) excess() string {
	switch {
	case u.bytes > u.maxBytes:
		return "the workspace has more bytes than its limit (MAX_WORKSPACE_BYTES)"
	case u.files > u.maxFiles:
		return "the workspace has more files than its limit (MAX_WORKSPACE_FILES)"
	case u.deep:
		return fmt.Sprintf("the workspace has folders that are nested more than %d deep", maxDepth)
	}
	return ""
}

// named counts the files in the program's folders, and its log.
func (u *usage) named(ctx context.Context, p *Program) {
	for _, f := range []*os.File{p.Log.Stdout, p.Log.Stderr, p.Log.Order} {
		u.log(f)
	}
	for _, dir := range []string{p.Workspace, p.Tmp} {
		if u.excess() == "" {
			u.add(ctx, dir)
		}
	}
}

// log counts a file that keeps the program's output, which the program itself cannot open.
func (u *usage) log(f *os.File) {
	if f == nil {
		return
	}
	var st unix.Stat_t
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) })
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			u.disk(&st, true)
		}
	}
}

// disk counts the disk space of a file. shared says that the same file may be met again.
func (u *usage) disk(st *unix.Stat_t, shared bool) {
	if shared || st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		i := inode{uint64(st.Dev), st.Ino} //nolint:unconvert // its type differs between architectures
		if u.seen[i] {
			return
		}
		u.seen[i] = true
	}
	u.bytes += st.Blocks * 512
}

// maxDepth bounds how deep folders may lie. Deeper ones are not counted, so they could hold any
// amount.
const maxDepth = 200

// errExcess ends the counting when a limit is exceeded.
var errExcess = errors.New("too much")

// add counts a tree until a limit is exceeded. Files that are removed meanwhile are left out.
func (u *usage) add(ctx context.Context, dir string) {
	root, err := fstree.Open(dir)
	if err != nil {
		return
	}
	defer root.Close()
	_ = fstree.Walk{Depth: maxDepth}.Tree(ctx, root, func(e *fstree.Entry, err error) error { // excess says what it was
		switch {
		case errors.Is(err, fstree.ErrTooDeep):
			u.deep = true
		case err != nil:
			return nil //nolint:nilerr // it was counted itself, and cannot be read
		default:
			u.files++
			u.disk(&e.Stat, false)
		}
		if u.excess() != "" {
			return errExcess
		}
		return nil
	})
}

// nameless counts files without a name, which take space as long as a process has them open. With
// closely it takes longer, and also finds files that only a thread has open, files that are only
// mapped into memory, and whether there are files that cannot be counted.
func (u *usage) nameless(workspace string, pids []int, closely bool) {
	var home unix.Stat_t
	if unix.Stat(workspace, &home) != nil {
		return
	}
	for _, pid := range pids {
		process := filepath.Join("/proc", strconv.Itoa(pid))
		if !closely {
			u.open(process, home.Dev, false)
			continue
		}
		threads, err := os.ReadDir(filepath.Join(process, "task"))
		if err != nil {
			continue // it has just ended
		}
		for _, thread := range threads {
			u.open(filepath.Join(process, "task", thread.Name()), home.Dev, true)
		}
		u.mapped(process, home.Dev)
	}
}

// open counts the files without a name that a process, or one of its threads, has open.
func (u *usage) open(process string, device uint64, closely bool) {
	entries, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return // it has just ended
	}
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(process, "fd", e.Name()), &st) != nil {
			continue
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 0 && st.Dev == device:
			u.disk(&st, true)
		case closely && st.Mode&unix.S_IFMT == unix.S_IFSOCK:
			u.inFlight = u.inFlight || carries(filepath.Join(process, "fdinfo", e.Name()))
		}
	}
}

// carries reports whether open files wait in a socket to be received (proc(5), scm_fds; Linux 5.6).
// The kernel does not say which files.
func carries(fdinfo string) bool {
	text, err := os.ReadFile(fdinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == "scm_fds" && strings.TrimSpace(value) != "0" {
			return true
		}
	}
	return false
}

// mapped counts files without a name that a process has mapped into its memory.
func (u *usage) mapped(process string, device uint64) {
	f, err := os.Open(filepath.Join(process, "maps"))
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[len(fields)-1] != "(deleted)" {
			continue
		}
		var st unix.Stat_t
		// If this process may not look at the file itself, the size of the range is the most that the
		// file can take.
		if unix.Stat(filepath.Join(process, "map_files", fields[0]), &st) == nil {
			if st.Nlink == 0 && st.Dev == device {
				u.disk(&st, true)
			}
			continue
		}
		u.mappedRange(fields, device)
	}
}

func (u *usage) mappedRange(fields []string, device uint64) {
	from, to, _ := strings.Cut(fields[0], "-")
	begin, beginErr := strconv.ParseInt(from, 16, 64)
	end, endErr := strconv.ParseInt(to, 16, 64)
	major, minor, _ := strings.Cut(fields[3], ":")
	maj, majErr := strconv.ParseUint(major, 16, 32)
	mnr, mnrErr := strconv.ParseUint(minor, 16, 32)
	number, err := strconv.ParseUint(fields[4], 10, 64)
	if errors.Join(beginErr, endErr, majErr, mnrErr, err) != nil || unix.Mkdev(uint32(maj), uint32(mnr)) != device {
		return
	}
	if i := (inode{device, number}); !u.seen[i] {
		u.bytes += end - begin
	}
}
