//go:build unix && !linux

package fstree

import "golang.org/x/sys/unix"

// chmod changes the mode of the entry name, which must not be a link.
func (d *Dir) chmod(name string, mode uint32) error {
	return retryOnly(func() error { return unix.Fchmodat(d.fd(), name, mode, unix.AT_SYMLINK_NOFOLLOW) })
}
