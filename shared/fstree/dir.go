//go:build unix

// Package fstree walks and removes trees that an untrusted program has made. Everything is reached
// by handle, one name below an open folder, and no link is followed, so the cost of an entry does
// not depend on how deep it lies and nothing outside the tree can be touched. The number of open
// descriptors has a bound whatever the depth.
package fstree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is an open folder.
type Dir struct {
	file    *os.File
	restore func() // gives back the permissions that were changed to open it; nil if none were
}

// Rights of the owner that are needed to read a folder, and to empty it.
const (
	toRead  = 0o500
	toEmpty = 0o700
)

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// Open opens the folder at path, or the one that lies below it by these names, one in the other.
// None of them may be a link; the folders above path are the caller's to vouch for.
func Open(path string, below ...string) (*Dir, error) {
	d, err := openPath(path)
	for _, name := range below {
		if err != nil {
			return nil, err
		}
		d, err = d.descend(name)
	}
	return d, err
}

// descend opens the folder name and closes this one.
func (d *Dir) descend(name string) (*Dir, error) {
	defer d.Close()
	st, err := d.stat(name)
	if err != nil {
		return nil, err
	}
	return d.open(name, &st, toRead)
}

func openPath(path string) (*Dir, error) {
	name := filepath.Base(path)
	fd, err := retry(func() (int, error) { return unix.Open(filepath.Dir(path), dirFlags&^unix.O_NOFOLLOW, 0) })
	if err != nil {
		return nil, pathError("open", filepath.Dir(path), err)
	}
	parent := newDir(fd, filepath.Dir(path))
	defer parent.Close()
	st, err := parent.stat(name)
	if err != nil {
		return nil, err
	}
	return parent.open(name, &st, toRead)
}

func newDir(fd int, name string) *Dir { return &Dir{file: os.NewFile(uintptr(fd), name)} }

// Close closes the folder and gives it back the permissions that were changed to open it.
func (d *Dir) Close() error {
	if d.restore != nil {
		d.restore()
	}
	return d.file.Close()
}

// Chown gives the folder itself to a user and a group.
func (d *Dir) Chown(uid, gid int) error { return d.file.Chown(uid, gid) }

func (d *Dir) fd() int { return int(d.file.Fd()) }

// stat describes the entry name, not what a link leads to.
func (d *Dir) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retryOnly(func() error { return unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, pathError("stat", name, err)
}

// open opens the folder name with the rights that are wanted. Where its owner, who is this
// process's user unless that is root, has taken them away, it has them while it is open.
func (d *Dir) open(name string, st *unix.Stat_t, want uint32) (*Dir, error) {
	mode := uint32(st.Mode) & 0o7777 //nolint:unconvert // its type differs between systems
	var restore func()
	if mode&want != want && unix.Faccessat(d.fd(), name, want>>6, 0) != nil {
		if err := d.chmod(name, mode|want); err == nil {
			restore = func() { _ = d.chmod(name, mode) } // fails when it is gone
		}
	}
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd(), name, dirFlags, 0) })
	if err != nil {
		if restore != nil {
			restore()
		}
		return nil, pathError("open", name, err)
	}
	child := newDir(fd, name)
	if restore != nil { // by its own handle: the name may lead elsewhere by then
		child.restore = func() { _ = unix.Fchmod(child.fd(), mode) }
	}
	return child, nil
}

// openFile opens a regular file for reading, and nothing else.
func (d *Dir) openFile(name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd(), name, flags, 0) })
	if err != nil {
		return nil, pathError("open", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: it is not a regular file: %w", name, fs.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// retry repeats a call that a signal has cut off.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func retryOnly(call func() error) error {
	_, err := retry(func() (int, error) { return 0, call() })
	return err
}
