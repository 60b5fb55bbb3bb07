package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

func startWatcher(p Program, evict func(message string)) *watcher {
	w := &watcher{done: make(chan struct{})}
	if p.WorkspaceBytes > 0 || p.WorkspaceFiles > 0 {
		go w.run(p, evict)
	}
	return w
}

func (w *watcher) stop() { close(w.done) }

func (w *watcher) run(p Program, evict func(string)) {
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
		used := usage{files: p.WorkspaceFiles, bytes: p.WorkspaceBytes}
		for _, dir := range []string{p.Workspace, p.Tmp} {
			used.add(dir)
		}
		if message := used.excess(); message != "" {
			evict(message)
			return
		}
		pause = max(watchPeriod, watchShare*time.Since(begin))
	}
}

// usage counts down what is left.
type usage struct{ files, bytes int64 }

// excess says which limit was passed, or nothing.
func (u *usage) excess() string {
	switch {
	case u.bytes < 0:
		return "usage of the workspace exceeds its limit (MAX_WORKSPACE_BYTES)"
	case u.files < 0:
		return "the workspace has more files than its limit (MAX_WORKSPACE_FILES)"
	}
	return ""
}

// add counts a tree, until it is too much. What vanishes meanwhile or cannot be read is left out. It follows no
// links.
func (u *usage) add(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	u.tree(root, ".")
}

// maxDepth bounds how deep a tree is followed; what lies deeper is not counted, but its folders are.
const maxDepth = 200

func (u *usage) tree(root *os.Root, name string) { u.folder(root, name, 0) }

func (u *usage) folder(root *os.Root, name string, depth int) {
	dir, err := root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil || depth > maxDepth {
		return
	}
	defer dir.Close()
	for u.excess() == "" {
		entries, err := dir.ReadDir(1000)
		for _, e := range entries {
			u.files--
			if info, err := e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					u.bytes -= st.Blocks * 512 / int64(max(st.Nlink, 1)) // a file of several names counts once in all
				}
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

// String is for messages of tests.
func (u *usage) String() string { return fmt.Sprintf("%d bytes and %d files left", u.bytes, u.files) }
