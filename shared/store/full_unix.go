//go:build unix

package store

import (
	"errors"
	"syscall"
)

// isFull reports whether the disk or a quota is used up.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isBadName reports whether the file system cannot hold the name.
func isBadName(err error) bool { return errors.Is(err, syscall.ENAMETOOLONG) }

// isInTheWay reports whether a file is where a folder is needed, or the other way round.
func isInTheWay(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EEXIST)
}

func freeBytes(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true //nolint:gosec,unconvert // types differ between systems
}
