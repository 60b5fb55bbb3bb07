package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quota is the project quota of a file system (ext4 and XFS, mounted with prjquota). The kernel
// counts the files of a project; a program that exceeds the quota gets EDQUOT or ENOSPC.
type quota struct {
	dir *os.File // any folder of the file system
	mu  sync.Mutex
}

// project is the project of one workspace.
type project struct {
	*quota
	id uint32
}

// Projects of workspaces have IDs from here on, so that they do not collide with IDs that the
// machine's administrator uses.
const (
	firstProject = 0x6f6a0000
	lastProject  = firstProject + 0xffff
)

// From linux/quota.h and linux/fs.h.
const (
	getQuota       = 0x800007<<8 | 2 // Q_GETQUOTA, of a project
	setQuota       = 0x800008<<8 | 2 // Q_SETQUOTA
	quotaLimits    = 1 | 4           // QIF_LIMITS
	quotaBlock     = 1024            // QIF_DQBLKSIZE
	getAttributes  = 0x801c581f      // FS_IOC_FSGETXATTR
	setAttributes  = 0x401c5820      // FS_IOC_FSSETXATTR
	projectInherit = 0x200           // FS_XFLAG_PROJINHERIT
)

// diskQuota is struct if_dqblk.
type diskQuota struct {
	blocksHard, blocksSoft, space  uint64
	inodesHard, inodesSoft, inodes uint64
	blockTime, inodeTime           uint64
	valid                          uint32
}

// fileAttributes is struct fsxattr.
type fileAttributes struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

// findQuota tries whether the kernel enforces limits of folders in dir.
func findQuota(dir string) (*quota, error) {
	if dir == "" || os.Geteuid() != 0 {
		return nil, errors.New("only root can set quotas")
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	q := &quota{dir: f}
	if err := q.try(dir); err != nil {
		f.Close()
		return nil, err
	}
	return q, nil
}

// try writes more than a limit allows, because some file systems only count and do not refuse.
func (q *quota) try(dir string) error {
	const limit = 1 << 20
	trial, err := os.MkdirTemp(dir, ".quota-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(trial)
	if err := q.confine(trial, limit, 100); err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // root may exceed limits, so the thread drops that right; it ends with this goroutine
		result <- overfill(filepath.Join(trial, "file"), 2*limit)
	}()
	switch err := <-result; {
	case err == nil:
		return errors.New("limits are not enforced")
	case errors.Is(err, unix.EDQUOT), errors.Is(err, unix.ENOSPC):
		return nil
	default:
		return err
	}
}

func overfill(path string, bytes int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	return os.WriteFile(path, make([]byte, bytes), 0o600)
}

// confine makes an empty folder a project of its own. Files that are created in it also belong to
// the project. 0 is no limit.
func (q *quota) confine(dir string, bytes, files int64) error {
	q.mu.Lock() // a project looks unused until its folder counts
	defer q.mu.Unlock()
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	id, err := q.unused()
	if err != nil {
		return err
	}
	limits := diskQuota{
		blocksHard: uint64((bytes + quotaBlock - 1) / quotaBlock), inodesHard: uint64(files), valid: quotaLimits, //nolint:gosec // not negative
	}
	if err := q.control(setQuota, id, &limits); err != nil {
		return fmt.Errorf("set the quota: %w", err)
	}
	var a fileAttributes
	if err := attributes(f, getAttributes, &a); err != nil {
		return fmt.Errorf("read the project: %w", err)
	}
	a.project, a.flags = id, a.flags|projectInherit
	if err := attributes(f, setAttributes, &a); err != nil {
		return fmt.Errorf("set the project: %w", err)
	}
	return nil
}

// unused returns the first project without files.
func (q *quota) unused() (uint32, error) {
	for id := uint32(firstProject); id <= lastProject; id++ {
		var d diskQuota
		err := q.control(getQuota, id, &d)
		if errors.Is(err, unix.ENOENT) { // XFS does not know a project that was never used
			return id, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the quota: %w", err)
		}
		if d.space == 0 && d.inodes == 0 {
			return id, nil
		}
	}
	return 0, errors.New("all projects are in use")
}

// of returns the project of a folder that confine was called for, or of a folder in it; nil if
// there is none.
func (q *quota) of(dir string) *project {
	if q == nil {
		return nil
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	var a fileAttributes
	if attributes(f, getAttributes, &a) != nil || a.project < firstProject || a.project > lastProject {
		return nil
	}
	return &project{q, a.project}
}

// used returns the disk space of the project, including files that have no name any more.
func (p *project) used() (bytes int64, err error) {
	var d diskQuota
	err = p.control(getQuota, p.id, &d)
	return int64(d.space), err //nolint:gosec // less than a disk
}

func (q *quota) control(command uintptr, id uint32, d *diskQuota) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, q.dir.Fd(), command, uintptr(id), uintptr(unsafe.Pointer(d)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func attributes(f *os.File, command uintptr, a *fileAttributes) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), command, uintptr(unsafe.Pointer(a)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Confine makes the folder dir for the workspace of a program. The folder may exist already. Where
// there are quotas, the kernel limits what is made in it from now on. 0 is no limit.
func (s *Sandbox) Confine(dir string, bytes, files int64) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) { // from an earlier attempt; it keeps the limits that it has
		return nil
	}
	if err != nil || s.quota == nil || bytes == 0 && files == 0 {
		return err
	}
	if err := s.quota.confine(dir, bytes, files); err != nil {
		s.log.Warn("no quota for a workspace; it is watched instead", "dir", dir, "error", err)
	}
	return nil
}

// WorkspaceLimit describes what limits the workspace in dir to that many bytes and files. 0 is no
// limit.
func (s *Sandbox) WorkspaceLimit(dir string, bytes, files int64) string {
	if bytes == 0 && files == 0 {
		return "no limit"
	}
	amount := func(n int64, what string) string {
		if n == 0 {
			return "any number of " + what
		}
		return fmt.Sprintf("%d %s", n, what)
	}
	text := amount(bytes, "bytes") + ", " + amount(files, "files")
	if s.quota.of(dir) != nil {
		return "quota: " + text
	}
	return "watched: ended above " + text
}
