package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// The pause between two looks at a workspace is at least watchPeriod, and at least watchShare times what a look takes.
const (
	watchPeriod = 500 * time.Millisecond
	watchShare  = 10
)

// watcher ends a program whose workspace has become too large. No file system sets a limit to a folder everywhere, so
// a program can go beyond it for a moment.
type watcher struct{ done chan struct{} }

// startWatcher watches the program of which init is the first process.
func startWatcher(p Program, init int, evict func(message string)) *watcher {
	w := &watcher{done: make(chan struct{})}
	if p.WorkspaceBytes > 0 || p.WorkspaceFiles > 0 {
		go w.run(p, init, evict)
	}
	return w
}

func (w *watcher) stop() { close(w.done) }

func (w *watcher) run(p Program, init int, evict func(string)) {
	pause := watchPeriod
	for {
		timer := time.NewTimer(pause)
		select {
		case <-w.done:
			timer.Stop()
			return
		case <-timer.C:
		}
		begin := time.Now()
		if message := look(p, init); message != "" {
			evict(message)
			return
		}
		pause = max(watchPeriod, watchShare*time.Since(begin))
	}
}

// look says which limit the program's files pass, or nothing.
func look(p Program, init int) string {
	u := newUsage(p.WorkspaceFiles, p.WorkspaceBytes)
	for _, f := range []*os.File{p.Log.Stdout, p.Log.Stderr, p.Log.Order} {
		u.log(f)
	}
	for _, dir := range []string{p.Workspace, p.Tmp} {
		u.add(dir)
	}
	if u.excess() == "" {
		u.nameless(p.Workspace, descendants(init))
	}
	return u.excess()
}

// usage counts down what is left.
type usage struct {
	files, bytes int64
	seen         map[inode]bool // what has several names, or none, counts once
	deep         bool
}

type inode struct{ device, number uint64 }

// newUsage begins with what is allowed; 0 is no limit.
func newUsage(files, bytes int64) *usage {
	u := &usage{files: files, bytes: bytes, seen: map[inode]bool{}}
	if files == 0 {
		u.files = math.MaxInt64
	}
	if bytes == 0 {
		u.bytes = math.MaxInt64
	}
	return u
}

// excess says which limit was passed, or nothing.
func (u *usage) excess() string {
	switch {
	case u.bytes < 0:
		return "usage of the workspace exceeds its limit (MAX_WORKSPACE_BYTES)"
	case u.files < 0:
		return "the workspace has more files than its limit (MAX_WORKSPACE_FILES)"
	case u.deep:
		return fmt.Sprintf("the workspace has folders in folders more than %d deep", maxDepth)
	}
	return ""
}

// log counts a file of ours that the program writes to, whether or not it has left it its name.
func (u *usage) log(f *os.File) {
	if f == nil {
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		u.disk(info, true)
	}
}

// disk counts what a file takes on the disk. shared says that it may be met again.
func (u *usage) disk(info fs.FileInfo, shared bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	if shared || st.Nlink > 1 && !info.IsDir() {
		i := inode{uint64(st.Dev), st.Ino} //nolint:unconvert // its type differs between architectures
		if u.seen[i] {
			return
		}
		u.seen[i] = true
	}
	u.bytes -= st.Blocks * 512
}

// add counts a tree, until it is too much. What vanishes meanwhile is left out. It follows no links.
func (u *usage) add(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	u.folder(root, ".", 0)
}

// maxDepth bounds how deep folders may lie: deeper ones would not be counted, and hold any amount.
const maxDepth = 200

func (u *usage) folder(root *os.Root, name string, depth int) {
	if depth > maxDepth {
		u.deep = true
		return
	}
	dir, closeDir, err := openFolder(root, name)
	if err != nil {
		return
	}
	defer closeDir()
	for u.excess() == "" {
		entries, err := dir.ReadDir(1000)
		for _, e := range entries {
			u.files--
			if info, err := e.Info(); err == nil {
				u.disk(info, false)
			}
			if e.IsDir() {
				u.folder(root, filepath.Join(name, e.Name()), depth+1)
			}
		}
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
	}
}

// openFolder opens a folder also when its owner, who is the server's user where that is not root, has closed it to
// himself: it is open while it is counted.
func openFolder(root *os.Root, name string) (dir *os.File, closeDir func(), err error) {
	const flags = os.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	const owner = 0o500
	restore := func() {}
	if info, err := root.Lstat(name); err == nil && info.IsDir() && info.Mode().Perm()&owner != owner && os.Geteuid() != 0 {
		if root.Chmod(name, info.Mode().Perm()|owner) == nil {
			restore = func() { _ = root.Chmod(name, info.Mode().Perm()) } // fails when it is gone
		}
	}
	dir, err = root.OpenFile(name, flags, 0)
	if err != nil {
		restore()
		return nil, nil, err
	}
	return dir, func() { dir.Close(); restore() }, nil
}

// nameless counts files without a name, which take room for as long as a process has them open.
func (u *usage) nameless(workspace string, pids []int) {
	var home syscall.Stat_t
	if syscall.Stat(workspace, &home) != nil {
		return
	}
	for _, pid := range pids {
		folder := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue // it has just ended
		}
		for _, e := range entries {
			info, err := os.Stat(filepath.Join(folder, e.Name()))
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink == 0 && st.Dev == home.Dev {
				u.disk(info, true)
			}
		}
	}
}
