package fstree

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asUser runs a test with the rights of an ordinary user, in a folder of its own.
func asUser(t *testing.T, test func(t *testing.T, dir string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fstree-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Geteuid() != 0 {
		test(t, dir)
		return
	}
	const user = 65533
	if err := os.Chown(dir, user, user); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Run("as an ordinary user", func(t *testing.T) {
		go func() {
			defer close(done)
			runtime.LockOSThread() // the thread ends with this goroutine, and its user with it
			for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
				if _, _, errno := unix.RawSyscall(call, user, user, user); errno != 0 {
					t.Errorf("become an ordinary user: %v", errno)
					return
				}
			}
			test(t, dir)
		}()
		<-done
	})
}
