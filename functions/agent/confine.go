package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// The program has the user of the agent beside it, so that permissions of files keep it from
// nothing. Landlock does: the program and all that it starts may write everywhere but in the
// folders by which the parts of the agent speak to each other and keep the log, and may signal and
// trace none but themselves.

// ABI versions of Landlock. Before referABI no file can be renamed from one folder to another under
// it, which programs do.
const (
	referABI    = 2
	truncateABI = 3
	scopeABI    = 6
)

// changes are the rights to change files and folders; a file has those of fileChanges. All others
// stay as they are.
const (
	fileChanges = ll.AccessFSWriteFile | ll.AccessFSTruncate
	changes     = fileChanges | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeChar |
		ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock | ll.AccessFSMakeFifo |
		ll.AccessFSMakeBlock | ll.AccessFSMakeSym | ll.AccessFSRefer
)

// confined calls start on a thread that may not change what lies in the folder closed, but for the
// folders open in it. What start starts may not either. A kernel without Landlock, or with an old
// one, is no error: then nothing is denied.
//
// The library can only restrict whole processes, and this one has to write the log.
func confined(closed string, open []string, start func()) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and the runtime starts no other from it.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end. While this goroutine waits on it the next one has another.
			defer runtime.UnlockOSThread()
			done <- confined(closed, open, start)
			return
		}
		err := restrictThread(closed, open)
		if err == nil {
			start()
		}
		done <- err
	}()
	return <-done
}

func restrictThread(closed string, open []string) error {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < referABI {
		return nil
	}
	attr := ll.RulesetAttr{HandledAccessFS: changes}
	if abi < truncateABI {
		attr.HandledAccessFS &^= ll.AccessFSTruncate
	}
	if abi >= scopeABI {
		attr.Scoped = ll.ScopeSignal
	}
	rules, err := ll.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return fmt.Errorf("protect the log: %w", err)
	}
	defer unix.Close(rules)
	beside, err := siblings(closed)
	if err != nil {
		return fmt.Errorf("protect the log: %w", err)
	}
	for _, path := range append(beside, open...) {
		if err := allow(rules, path, attr.HandledAccessFS); err != nil {
			return fmt.Errorf("protect the log: leave %s open: %w", path, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := ll.LandlockRestrictSelf(rules, 0); err != nil {
		return fmt.Errorf("protect the log: %w", err)
	}
	return nil
}

// siblings lists what lies beside the folder and beside each that it is in. Links are left out,
// which an image could have lead into the folder: what they lead to elsewhere is in the list
// itself.
func siblings(folder string) ([]string, error) {
	var list []string
	for folder != "/" {
		above, own := filepath.Dir(folder), filepath.Base(folder)
		entries, err := os.ReadDir(above)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Name() != own && e.Type()&os.ModeSymlink == 0 {
				list = append(list, filepath.Join(above, e.Name()))
			}
		}
		folder = above
	}
	return list, nil
}

// allow leaves all rights over a file, or a folder with what is in it.
func allow(rules int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return nil // gone, or the program cannot reach it either
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return nil
	case unix.S_IFDIR:
	default:
		rights &= fileChanges
	}
	return ll.LandlockAddPathBeneathRule(rules, &ll.PathBeneathAttr{AllowedAccess: rights, ParentFd: fd}, 0)
}
