package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Where a program sees its folders in its own view of files.
const (
	workspacePath = "/workspace"
	tmpPath       = "/tmp"
)

// The parts of terminals. A program starts without a terminal, because each stage leads its own
// session.
const (
	ownTerminal = "/dev/tty" // stands for the terminal of whoever opens it
	terminals   = "/dev/pts"
	// terminalOptions bound the number of terminals, because each takes up to terminalBytes of the
	// kernel's memory, and the whole machine has 4,096.
	terminalOptions = "newinstance,mode=0620,ptmxmode=0666,max=64"
)

// setUpFiles gives this process, and so the program, a view of files with nothing but the files
// that programs may read and write.
func (req *request) setUpFiles() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separate from the host's mounts: %w", err)
	}
	// The new root can be mounted on any folder. This one exists everywhere, and has nothing in it
	// that the program is to see.
	const root = "/proc"
	v := view{root: root}
	steps := []func() error{
		func() error { return v.bindOwn(req.Workspace, req.Tmp) }, // first, because files to read may lie in /tmp
		func() error { return v.makeNames(req) },
		func() error { return v.bindSystem(req.ReadPaths) },
		func() error { return v.hide(req.HidePaths) },
		func() error { return v.makeDevices(req.Shared) },
		v.makeTerminals,
	}
	if err := v.mountRoot(); err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return v.enter()
}

// view is a new root directory while it is being built.
type view struct{ root string }

func (v *view) path(name string) string { return filepath.Join(v.root, name) }

func (v *view) mountRoot() error {
	if err := unix.Mount("tmpfs", v.root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV,
		"mode=755,size=16m,nr_inodes=4096"); err != nil {
		return fmt.Errorf("mount a new root: %w", err)
	}
	return nil
}

// bindSystem shows the system's folders and files, and the others that programs may read, at the
// paths that they have on the machine.
func (v *view) bindSystem(more []string) error {
	for _, path := range append(append(systemFolders(), systemFiles()...), more...) {
		if err := v.show(path); err != nil {
			return err
		}
	}
	return nil
}

// show binds a path, read-only. A path that does not exist is left out. A link stays a link, and
// its target is shown too.
func (v *view) show(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return v.showLink(path)
	}
	if _, err := os.Lstat(v.path(path)); err == nil {
		return nil // it lies in a folder that is shown, or makeNames makes it
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if strings.HasPrefix(path, "/sys/") {
		flags |= unix.MS_NOEXEC
	}
	return v.bind(path, path, flags)
}

func (v *view) showLink(path string) error {
	target, err := os.Readlink(path)
	if err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	if _, err := os.Lstat(v.path(path)); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(v.path(path)), 0o755); err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	if err := os.Symlink(target, v.path(path)); err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	return v.show(filepath.Clean(target))
}

// bind mounts the source at a path in the new root. The flags also apply to what is mounted below
// it.
func (v *view) bind(source, name string, flags uintptr) error {
	target := v.path(name)
	if err := makeTarget(source, target); err != nil {
		return fmt.Errorf("show %s: %w", name, err)
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s: %w", name, err)
	}
	if err := restrict(target, flags); err != nil {
		return fmt.Errorf("show %s: %w", name, err)
	}
	return nil
}

func makeTarget(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// restrict removes rights from a mount and from all mounts below it. In a user namespace, rights
// that were removed before cannot be given back.
func restrict(target string, flags uintptr) error {
	attr := unix.MountAttr{}
	for flag, bit := range map[uintptr]uint64{
		unix.MS_RDONLY: unix.MOUNT_ATTR_RDONLY, unix.MS_NOSUID: unix.MOUNT_ATTR_NOSUID, unix.MS_NODEV: unix.MOUNT_ATTR_NODEV,
		unix.MS_NOEXEC: unix.MOUNT_ATTR_NOEXEC,
	} {
		if flags&flag != 0 {
			attr.Attr_set |= bit
		}
	}
	return unix.MountSetattr(-1, target, unix.AT_RECURSIVE, &attr)
}

// bindOwn shows the program's own folders, the only ones that it may write to.
func (v *view) bindOwn(workspace, tmp string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	if err := v.bind(workspace, workspacePath, flags); err != nil {
		return err
	}
	return v.bind(tmp, tmpPath, flags)
}

// hide covers the paths that lie in a folder that is shown, and that no program may see.
func (v *view) hide(paths []string) error {
	for _, path := range paths {
		target := v.path(realPath(path))
		info, err := os.Stat(target)
		if err != nil {
			continue // not shown
		}
		if !info.IsDir() {
			err = unix.Mount("/dev/null", target, "", unix.MS_BIND, "")
		} else {
			err = unix.Mount("tmpfs", target, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=4k")
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	return nil
}

func (v *view) makeDevices(shared int64) error {
	for _, device := range devices() {
		if err := v.bind(device, device, unix.MS_NOSUID); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, v.path(name)); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	shm := v.path("/dev/shm")
	if err := os.Mkdir(shm, 0o755); err != nil {
		return fmt.Errorf("make /dev/shm: %w", err)
	}
	if err := unix.Mount("tmpfs", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, sharedOptions(shared)); err != nil {
		return fmt.Errorf("make /dev/shm: %w", err)
	}
	return nil
}

// makeTerminals gives the program pseudo-terminals that no other program can use.
func (v *view) makeTerminals() error {
	if _, err := os.Stat(ownTerminal); err == nil {
		if err := v.bind(ownTerminal, ownTerminal, unix.MS_NOSUID|unix.MS_NOEXEC); err != nil {
			return err
		}
	}
	folder := v.path(terminals)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", terminals, err)
	}
	if err := unix.Mount("devpts", folder, "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, terminalOptions); err != nil {
		return fmt.Errorf("make %s: %w", terminals, err)
	}
	if err := os.Symlink("pts/ptmx", v.path("/dev/ptmx")); err != nil {
		return fmt.Errorf("make /dev/ptmx: %w", err)
	}
	return nil
}

// enter makes the view the root directory, and unmounts the old root.
func (v *view) enter() error {
	proc := v.path("/proc")
	if err := os.Mkdir(proc, 0o755); err != nil {
		return fmt.Errorf("make /proc: %w", err)
	}
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := os.Chdir(v.root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // pivot_root(2): the old root is now on top of the new one
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV,
		""); err != nil {
		return fmt.Errorf("close the root: %w", err)
	}
	return nil
}
