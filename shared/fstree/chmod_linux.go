package fstree

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// chmod changes the mode of the entry name, which must not be a link. Only new kernels have a call
// for that (fchmodat2, Linux 6.6); through /proc all can do it with a handle that needs no right to
// the entry itself.
func (d *Dir) chmod(name string, mode uint32) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return retryOnly(func() error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode) })
}
