//go:build unix

package fstree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// window is how many folders in each other are entered by handle. What lies deeper is moved to the
// top of the tree first and emptied there, so that a tree of any depth is removed with this many
// descriptors, and each folder is moved at most once for this many that are entered.
const window = 64

// Remove removes the tree at path, also where a program has closed folders to their owner, and the
// file or link that is there instead of a tree. Nothing else may work in the tree. What is gone
// already is no error. It goes on after what it cannot remove, and returns the first of its errors.
// When ctx ends it returns ctx's error, and can be called again.
func Remove(ctx context.Context, path string) error {
	parent, err := Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	r := &remover{ctx: ctx}
	return r.tree(parent, filepath.Base(path))
}

// remover removes one tree.
type remover struct {
	ctx     context.Context //nolint:containedctx // lives as long as the removal
	top     *Dir
	moved   uint64 // folders that were moved to the top, which are named by number
	emptied uint64 // of those, the ones that are done
	removed int    // entries of any kind
	calls   int    // of the system, for tests
	err     error  // the first
}

func (r *remover) tree(parent *Dir, name string) error {
	if r.unlink(parent, name) {
		return nil
	}
	top, err := r.open(parent, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer top.Close()
	r.top = top
	for {
		before := r.removed
		r.err = nil
		r.pass()
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if r.rmdir(parent, name) {
			return nil
		}
		if r.removed == before { // on a full disk there may be no room to move a folder until others are gone
			return errors.Join(r.err, pathError("remove", name, unix.ENOTEMPTY))
		}
		if _, err := top.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// pass empties the tree once, with all that is moved to its top meanwhile.
func (r *remover) pass() {
	r.empty(r.top, 0)
	for r.emptied < r.moved && r.ctx.Err() == nil {
		name := movedName(r.emptied)
		r.emptied++
		r.entry(r.top, name, 0)
	}
}

// empty removes what is in a folder that lies so deep below the top, or the last folder that was
// moved there.
func (r *remover) empty(dir *Dir, depth int) {
	for r.ctx.Err() == nil {
		r.calls++
		names, err := dir.file.Readdirnames(batch)
		for _, name := range names {
			if r.ctx.Err() != nil {
				return
			}
			r.entry(dir, name, depth)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.note(err)
			}
			return
		}
	}
}

func (r *remover) entry(dir *Dir, name string, depth int) {
	if r.unlink(dir, name) || r.rmdir(dir, name) {
		return
	}
	if depth == window {
		r.move(dir, name)
		return
	}
	child, err := r.open(dir, name)
	if err != nil {
		r.note(err)
		return
	}
	r.empty(child, depth+1)
	child.Close()
	if r.ctx.Err() == nil && !r.rmdir(dir, name) {
		r.note(pathError("remove", name, unix.ENOTEMPTY))
	}
}

// unlink removes an entry that is no folder, and reports whether it is gone.
func (r *remover) unlink(dir *Dir, name string) bool { return r.unlinkat(dir, name, 0) }

// rmdir removes an empty folder, and reports whether it is gone.
func (r *remover) rmdir(dir *Dir, name string) bool { return r.unlinkat(dir, name, unix.AT_REMOVEDIR) }

func (r *remover) unlinkat(dir *Dir, name string, flags int) bool {
	r.calls++
	err := retryOnly(func() error { return unix.Unlinkat(dir.fd(), name, flags) })
	switch {
	case err == nil:
		r.removed++
		return true
	case errors.Is(err, unix.ENOENT):
		return true
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		r.note(pathError("remove", name, err))
	}
	return false
}

// open opens a folder so that it can be emptied. The rights it needs for that it keeps.
func (r *remover) open(dir *Dir, name string) (*Dir, error) {
	r.calls += 2
	st, err := dir.stat(name)
	if err != nil {
		return nil, err
	}
	child, err := dir.open(name, &st, toEmpty)
	if err != nil {
		return nil, err
	}
	child.restore = nil
	return child, nil
}

// move moves a folder to the top of the tree, under a number that nothing has there.
func (r *remover) move(dir *Dir, name string) {
	for r.ctx.Err() == nil {
		r.calls++
		err := retryOnly(func() error { return unix.Renameat(dir.fd(), name, r.top.fd(), movedName(r.moved)) })
		switch {
		case err == nil:
			r.moved++
			return
		case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.ENOTDIR):
			r.moved++ // a program has given something that name; it is removed in its turn
		case errors.Is(err, unix.EACCES) && r.release(dir, name):
		default:
			r.note(pathError("move", name, err))
			return
		}
	}
}

// release makes a folder one that its owner may move: its ".." changes with that.
func (r *remover) release(dir *Dir, name string) bool {
	r.calls += 2
	st, err := dir.stat(name)
	if err != nil || uint32(st.Mode)&toEmpty == toEmpty { //nolint:unconvert // its type differs between systems
		return false
	}
	return dir.chmod(name, toEmpty) == nil
}

func (r *remover) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func movedName(n uint64) string { return ".moved-" + strconv.FormatUint(n, 10) }
