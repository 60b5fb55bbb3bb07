//go:build unix

package fstree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrTooDeep tells that a folder is not entered because it lies too deep.
var ErrTooDeep = errors.New("the folder lies too deep")

// ErrTooMany tells that a walk ended because the tree has more entries than it may visit.
var ErrTooMany = errors.New("the tree has too many entries")

// Walk says how a tree is walked. A walk takes as many descriptors as folders lie in each other,
// Depth+1 at most.
type Walk struct {
	// Depth bounds how deep folders may lie; those directly in the tree's root have depth 1.
	Depth int
	// Entries bounds how many entries are visited; 0: all there are.
	Entries int
	// Ordered visits the files of a folder before its folders, and each kind by name, for which the
	// names of one folder at a time on each level are kept. Without it they come as the file system
	// has them.
	Ordered bool
}

// Visit is called for each entry of a tree. For a folder that cannot be entered it is called again,
// with the error. fs.SkipDir keeps the walk from entering a folder; any other error ends it.
type Visit func(e *Entry, err error) error

// Entry is what a walk has come to. It is valid during the call only.
type Entry struct {
	Name  string // in its folder
	Depth int    // 1 is directly in the root
	Stat  unix.Stat_t
	in    *Dir
	above *Entry // its folder; nil: the root
	long  int    // bytes of the path
}

// IsDir reports whether it is a folder.
func (e *Entry) IsDir() bool { return e.kind() == unix.S_IFDIR }

// IsRegular reports whether it is a regular file.
func (e *Entry) IsRegular() bool { return e.kind() == unix.S_IFREG }

func (e *Entry) kind() uint32 { return uint32(e.Stat.Mode) & unix.S_IFMT } //nolint:unconvert // its type differs between systems

// Type returns the bits of the mode that say what it is.
func (e *Entry) Type() fs.FileMode {
	switch e.kind() {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return fs.ModeSocket
	}
	return fs.ModeDevice
}

// Path returns the path below the root, with slashes. It costs as much as it is long.
func (e *Entry) Path() string {
	var names []string
	for ; e != nil; e = e.above {
		names = append(names, e.Name)
	}
	slices.Reverse(names)
	return path.Join(names...)
}

// PathLen returns the length of the path in bytes.
func (e *Entry) PathLen() int { return e.long }

// Open opens the entry for reading if it is a regular file.
func (e *Entry) Open() (*os.File, error) { return e.in.openFile(e.Name) }

// Readlink returns where a symbolic link leads.
func (e *Entry) Readlink() (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(e.in.fd(), e.Name, buffer) })
	if err != nil {
		return "", pathError("readlink", e.Name, err)
	}
	return string(buffer[:n]), nil
}

// Chown gives the entry, not what a link leads to, to a user and a group.
func (e *Entry) Chown(uid, gid int) error {
	return pathError("chown", e.Name, retryOnly(func() error {
		return unix.Fchownat(e.in.fd(), e.Name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// Tree visits all entries below root, which it does not close, until ctx ends.
func (w Walk) Tree(ctx context.Context, root *Dir, visit Visit) error {
	k := &walker{Walk: w, ctx: ctx, visit: visit}
	err := k.folder(root, nil, 1)
	if err == nil && k.cut {
		return ErrTooMany
	}
	return err
}

// walker is a walk under way.
type walker struct {
	Walk
	ctx     context.Context //nolint:containedctx // lives as long as the walk
	visit   Visit
	visited int
	calls   int  // of the system, for tests
	cut     bool // there were more than may be visited
}

// batch is how many names are read at once.
const batch = 256

func (k *walker) folder(dir *Dir, above *Entry, depth int) error {
	if k.Ordered {
		return k.ordered(dir, above, depth)
	}
	for {
		names, more, err := k.names(dir, batch)
		if err != nil {
			return k.unreadable(above, err)
		}
		for _, name := range names {
			if err := k.entry(dir, name, above, depth); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// ordered visits the files of a folder, then enters its folders.
func (k *walker) ordered(dir *Dir, above *Entry, depth int) error {
	var all []string
	for more := true; more; {
		names, m, err := k.names(dir, batch)
		if err != nil {
			return k.unreadable(above, err)
		}
		all, more = append(all, names...), m
	}
	slices.SortFunc(all, strings.Compare)
	folders := all[:0]
	for _, name := range all {
		e, err := k.look(dir, name, above, depth)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		if e.IsDir() {
			folders = append(folders, name)
			continue
		}
		if err := k.visit(e, nil); err != nil && !errors.Is(err, fs.SkipDir) {
			return err
		}
	}
	for _, name := range folders {
		if k.cut { // what is in them is not looked at
			return nil
		}
		if err := k.entry(dir, name, above, depth); err != nil {
			return err
		}
	}
	return nil
}

// names reads at most n names, and counts each as visited. more tells that there may be others.
func (k *walker) names(dir *Dir, n int) (names []string, more bool, err error) {
	if err := k.ctx.Err(); err != nil {
		return nil, false, err
	}
	left := n
	if k.Entries > 0 {
		left = min(n, k.Entries-k.visited+1) // one more tells that there are more
	}
	if k.cut {
		return nil, false, nil
	}
	k.calls++
	names, err = dir.file.Readdirnames(left)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	more = err == nil
	k.visited += len(names)
	if k.Entries > 0 && k.visited > k.Entries {
		k.cut = true
		return names[:len(names)-1], false, nil
	}
	return names, more, nil
}

// look describes an entry; nil is one that has vanished.
func (k *walker) look(dir *Dir, name string, above *Entry, depth int) (*Entry, error) {
	if err := k.ctx.Err(); err != nil {
		return nil, err
	}
	k.calls++
	st, err := dir.stat(name)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // it is not there any more
	}
	e := &Entry{Name: name, Depth: depth, Stat: st, in: dir, above: above, long: len(name)}
	if above != nil {
		e.long += above.long + 1
	}
	return e, nil
}

func (k *walker) entry(dir *Dir, name string, above *Entry, depth int) error {
	e, err := k.look(dir, name, above, depth)
	if e == nil || err != nil {
		return err
	}
	err = k.visit(e, nil)
	switch {
	case errors.Is(err, fs.SkipDir):
		return nil
	case err != nil || !e.IsDir():
		return err
	case depth > k.Depth:
		return k.failed(e, ErrTooDeep)
	}
	k.calls += 2
	child, err := dir.open(name, &e.Stat, toRead)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return k.failed(e, err)
	}
	defer child.Close()
	return k.folder(child, e, depth+1)
}

// unreadable tells that a folder could not be read to its end.
func (k *walker) unreadable(e *Entry, err error) error {
	if e == nil || k.ctx.Err() != nil {
		return err
	}
	return k.failed(e, err)
}

func (k *walker) failed(e *Entry, err error) error {
	if err := k.visit(e, err); err != nil && !errors.Is(err, fs.SkipDir) {
		return err
	}
	return nil
}
