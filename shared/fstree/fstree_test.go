//go:build linux

package fstree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// chain makes folders in each other, by handle: a path of that length does not exist. It holds one
// descriptor.
func chain(t testing.TB, dir string, depth int, leaf string) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		err := unix.Mkdirat(fd, "d", 0o700)
		next, openErr := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err := errors.Join(err, openErr); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	defer unix.Close(fd)
	if leaf != "" {
		f, err := unix.Openat(fd, leaf, unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(f)
	}
}

// wide makes n folders, each with a chain in it.
func wide(t testing.TB, dir string, n, depth int) {
	t.Helper()
	for i := range n {
		sub := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		chain(t, sub, depth, "file")
	}
}

// room is a fresh folder, in memory where there is room: what is measured here are calls, not
// disks.
func room(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "fstree-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = Remove(context.Background(), dir) })
	return dir
}

func removeCounted(t testing.TB, path string) *remover {
	t.Helper()
	parent, err := Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	r := &remover{ctx: t.Context()}
	if err := r.tree(parent, filepath.Base(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("it is still there: %v", err)
	}
	return r
}

// lowLimit lets this process have few descriptors while the test runs.
func lowLimit(t *testing.T, files uint64) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	})
}

// TestRemoveDeep removes a chain that is much deeper than files may be open, and counts the calls
// of the system: each folder costs the same however deep it lies.
func TestRemoveDeep(t *testing.T) {
	lowLimit(t, 256)
	for _, depth := range []int{1, window - 1, window, window + 1, 2 * window, 1000, 10_000, 30_000} {
		t.Run(strconv.Itoa(depth), func(t *testing.T) {
			dir := filepath.Join(room(t), "tree")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			chain(t, dir, depth, "file")
			r := removeCounted(t, dir)
			if most := 10*depth + 20; r.calls > most {
				t.Errorf("%d folders took %d calls, at most %d are expected", depth, r.calls, most)
			}
			if want := depth + 2; r.removed != want {
				t.Errorf("%d entries were removed, want %d", r.removed, want)
			}
			if most := depth/window + 1; r.moved > uint64(most) {
				t.Errorf("%d folders were moved, at most %d need it", r.moved, most)
			}
		})
	}
}

// TestRemoveWide removes folders beside each other that are all deeper than the window.
func TestRemoveWide(t *testing.T) {
	for _, size := range []struct{ n, depth int }{{10, 190}, {100, 190}, {1000, 3}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := filepath.Join(room(t), "tree")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			wide(t, dir, size.n, size.depth)
			entries := size.n*(size.depth+2) + 1
			r := removeCounted(t, dir)
			if most := 10*entries + 20; r.calls > most {
				t.Errorf("%d entries took %d calls, at most %d are expected", entries, r.calls, most)
			}
			if r.removed != entries {
				t.Errorf("%d entries were removed, want %d", r.removed, entries)
			}
		})
	}
}

// TestRemoveKinds removes what is no folder, what is not there, names that are used by the removal
// itself, and closed folders; what links lead to stays.
func TestRemoveKinds(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"a file":  func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"a link":  func(p string) error { return os.Symlink(outside, p) },
		"a FIFO":  func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a closed folder": func(p string) error {
			return errors.Join(os.MkdirAll(p+"/a/b", 0o700), os.Chmod(p+"/a", 0), os.Chmod(p, 0))
		},
		"a link in it": func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Symlink(outside, p+"/l")) },
		"an unreadable one": func(p string) error {
			return errors.Join(os.MkdirAll(p+"/a/b", 0o700),
				os.Chmod(p+"/a", 0o300))
		},
		"one not to search": func(p string) error {
			return errors.Join(os.MkdirAll(p+"/a/b", 0o700),
				os.Chmod(p+"/a", 0o600))
		},
		"taken names": func(p string) error {
			err := errors.Join(os.MkdirAll(p+"/.moved-0/x", 0o700), os.Mkdir(p+"/.moved-2", 0o700),
				os.WriteFile(p+"/.moved-1", nil, 0o600))
			chain(t, p, 3*window, "file")
			chain(t, p+"/.moved-0/x", 3*window, "file")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tree")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			if err := Remove(t.Context(), path); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
			if _, err := os.Lstat(filepath.Join(outside, "kept")); err != nil {
				t.Errorf("what a link leads to: %v", err)
			}
		})
	}
	if err := Remove(t.Context(), filepath.Join(outside, "no", "such")); err != nil {
		t.Errorf("a folder that is gone: %v", err)
	}
}

// TestRemoveClosedDeep moves closed folders, which an ordinary user may do only once they are open.
func TestRemoveClosedDeep(t *testing.T) {
	asUser(t, func(t *testing.T, dir string) {
		tree := filepath.Join(dir, "tree")
		if err := os.Mkdir(tree, 0o700); err != nil {
			t.Fatal(err)
		}
		chain(t, tree, window+3, "")
		path := tree
		for range window + 3 {
			path += "/d"
		}
		for ; path != dir; path = filepath.Dir(path) {
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := Remove(t.Context(), tree); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(tree); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	})
}

// TestRemoveEnds cuts a removal off, and goes on with it.
func TestRemoveEnds(t *testing.T) {
	dir := filepath.Join(room(t), "tree")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wide(t, dir, 20, 200)
	ctx, cancel := context.WithCancel(t.Context())
	parent, err := Open(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	r := &remover{ctx: &countdown{Context: ctx, left: 1000, end: cancel}}
	if err := r.tree(parent, "tree"); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off, it returns %v", err)
	}
	if r.removed == 0 || r.removed > 1000 {
		t.Errorf("%d entries were removed in a thousand steps", r.removed)
	}
	if err := Remove(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// countdown is a context that ends when it has been asked so often.
type countdown struct {
	context.Context
	left int
	end  func()
}

func (c *countdown) Err() error {
	if c.left--; c.left == 0 {
		c.end()
	}
	return c.Context.Err()
}

// walked is the paths that a walk visits, and the errors it tells.
func walked(t *testing.T, w Walk, dir string, visit Visit) ([]string, error) {
	t.Helper()
	root, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var got []string
	err = w.Tree(t.Context(), root, func(e *Entry, err error) error {
		line := e.Path()
		switch {
		case errors.Is(err, ErrTooDeep):
			line += ": too deep"
		case err != nil:
			line += ": " + err.Error()
		}
		got = append(got, line)
		if visit != nil {
			return visit(e, err)
		}
		return nil
	})
	return got, err
}

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b/x/y/deep", "b/f", "a", "c", "skipped/f", "0/f"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	skip := func(e *Entry, _ error) error {
		if e.Name == "skipped" {
			return fs.SkipDir
		}
		return nil
	}
	// A folder comes twice: once to be looked at among the entries, and as one that is entered.
	want := []string{"a", "c", "link", "0", "0/f", "b", "b/f", "b/x", "b/x/y", "b/x/y: too deep", "skipped"}
	got, err := walked(t, Walk{Depth: 2, Ordered: true}, dir, skip)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v; in order (-want +got):\n%s", err, diff)
	}
	got, err = walked(t, Walk{Depth: 2}, dir, skip)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v; as they come (-want +got):\n%s", err, diff)
	}
	for _, ordered := range []bool{false, true} {
		for most := 1; most <= 13; most++ {
			got, err := walked(t, Walk{Depth: 10, Entries: most, Ordered: ordered}, dir, nil)
			if all := 12; most < all != errors.Is(err, ErrTooMany) || len(got) > most {
				t.Errorf("at most %d: %d visited, %v", most, len(got), err)
			}
		}
	}
	stop := errors.New("stop")
	if got, err := walked(t, Walk{Depth: 10}, dir, func(*Entry, error) error { return stop }); !errors.Is(err, stop) ||
		len(got) != 1 {
		t.Errorf("stopped: %v after %v", err, got)
	}
}

// TestWalkLinear counts the calls of the system: an entry costs the same however deep it lies.
func TestWalkLinear(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		for _, depth := range []int{10, 100, 190} {
			dir := room(t)
			wide(t, dir, 20, depth)
			root, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			entries := 0
			k := &walker{Walk: Walk{Depth: 200, Ordered: ordered}, ctx: t.Context(),
				visit: func(*Entry, error) error { entries++; return nil }}
			if err := k.folder(root, nil, 1); err != nil {
				t.Fatal(err)
			}
			root.Close()
			if want := 20 * (depth + 2); entries != want {
				t.Errorf("%d entries, want %d", entries, want)
			}
			if most := 7*entries + 2; k.calls > most {
				t.Errorf("%d entries at depth %d took %d calls, at most %d are expected", entries, depth, k.calls, most)
			}
		}
	}
}

// TestWalkClosed walks folders that are closed to their owner, which are closed again afterwards.
func TestWalkClosed(t *testing.T) {
	asUser(t, func(t *testing.T, dir string) {
		for _, mode := range []fs.FileMode{0, 0o100, 0o400, 0o200} {
			sub := filepath.Join(dir, fmt.Sprintf("%o", mode))
			if err := errors.Join(os.MkdirAll(sub+"/x", 0o700), os.WriteFile(sub+"/x/f", nil, 0o600), os.Chmod(sub+"/x", mode),
				os.Chmod(sub, mode)); err != nil {
				t.Fatal(err)
			}
			got, err := walked(t, Walk{Depth: 5}, sub, nil)
			if diff := cmp.Diff([]string{"x", "x/f"}, got); diff != "" || err != nil {
				t.Errorf("mode %o: %v (-want +got):\n%s", mode, err, diff)
			}
			info, err := os.Stat(sub)
			if err != nil || info.Mode().Perm() != mode {
				t.Errorf("its mode is %v, want %o", info.Mode(), mode)
			}
			if err := os.Chmod(sub, 0o700); err != nil {
				t.Fatal(err)
			}
			if info, err = os.Stat(sub + "/x"); err != nil || info.Mode().Perm() != mode {
				t.Errorf("the mode of the folder in it is %v, want %o", info.Mode(), mode)
			}
			if err := Remove(t.Context(), sub); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/one/two/three", 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := walked(t, Walk{Depth: 5}, dir, func(e *Entry, _ error) error {
		if got, want := e.PathLen(), len(e.Path()); got != want {
			t.Errorf("%s has length %d, want %d", e.Path(), got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// BenchmarkRemove has the cost of one folder in chains of different depth, which is to be the same.
func BenchmarkRemove(b *testing.B) {
	for _, depth := range []int{100, 1000, 10_000} {
		b.Run(strconv.Itoa(depth), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				dir := filepath.Join(room(b), "tree")
				if err := os.Mkdir(dir, 0o700); err != nil {
					b.Fatal(err)
				}
				chain(b, dir, depth, "")
				b.StartTimer()
				if err := Remove(b.Context(), dir); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*depth), "ns/folder")
		})
	}
}
