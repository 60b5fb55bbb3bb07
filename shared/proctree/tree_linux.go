package proctree

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// Tree is the processes of a program: its first one, which is a child of this process, and all that
// it has started. Orphans among them become children of this process, which must have called Adopt
// or be the first of its pid namespace.
type Tree struct {
	first int
	alone bool // all other processes that this one sees are the program's

	mu     sync.Mutex
	asked  bool
	killed bool
}

// New returns the tree of the program whose first process is the child first. alone says that this
// process sees no others than the program's, as the first one of a pid namespace does.
func New(first int, alone bool) *Tree { return &Tree{first: first, alone: alone} }

// Adopt makes this process the parent of all orphans among its descendants.
func Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	return nil
}

// CatchSignals keeps signals from ending this process, which a program of the same user could send.
// The handler does nothing: what is ignored instead would be ignored by the program as well.
func CatchSignals() { signal.Notify(make(chan os.Signal, 1), deadlySignals()...) }

// deadlySignals are the signals that would end this process, or have it panic, unless it is
// notified of them: of the others the runtime of Go takes no notice (os/signal, "Default behavior
// of signals in Go programs"), or the kernel, which stops nobody who leads a session of his own by
// those of terminals. Each costs two changes of threads.
func deadlySignals() []os.Signal {
	return []os.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE,
		unix.SIGSEGV, unix.SIGTERM,
		unix.SIGSTKFLT, unix.SIGSYS,
	}
}

// Hide keeps processes of the same user from tracing this one, and from reading its memory and
// files in /proc.
func Hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide memory: %w", err)
	}
	return nil
}

// Terminate asks every process of the program to end. From here on none is ended because the first
// one has: what works on after that, such as the child of a shell that SIGTERM ends at once, has
// time until Kill is called.
func (t *Tree) Terminate() {
	t.mu.Lock()
	t.asked = true
	t.mu.Unlock()
	if t.alone {
		_ = unix.Kill(-1, unix.SIGTERM) // all in the namespace but this; fails when there are none
		return
	}
	// Those that have left the first one's group, as daemons do, are looked for before anything ends.
	var strayed []int
	for _, pid := range Descendants(os.Getpid()) {
		if group, err := unix.Getpgid(pid); err == nil && group != t.first {
			strayed = append(strayed, pid)
		}
	}
	_ = unix.Kill(-t.first, unix.SIGTERM) // fails when it has just ended
	for _, pid := range strayed {
		_ = unix.Kill(pid, unix.SIGTERM)
	}
}

// Kill ends every process of the program. Wait ends those that are born meanwhile.
func (t *Tree) Kill() {
	t.mu.Lock()
	t.killed = true
	t.mu.Unlock()
	if t.alone {
		_ = unix.Kill(-1, unix.SIGKILL) // as above
		return
	}
	for _, pid := range Descendants(os.Getpid()) {
		_ = unix.Kill(pid, unix.SIGKILL) // fails when it has just ended
	}
}

// Wait returns how the first process ended, once nothing of the program lives. When the first one
// ends by itself, all others are ended. This process can wait for no other children meanwhile.
func (t *Tree) Wait() (status unix.WaitStatus, err error) {
	for {
		var s unix.WaitStatus
		pid, err := unix.Wait4(-1, &s, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return status, nil
		case err != nil:
			return 0, fmt.Errorf("wait for the program: %w", err)
		}
		if pid == t.first {
			status = s
		}
		if t.due(pid) {
			t.Kill()
		}
	}
}

// due reports whether others are to be ended now that pid has ended.
func (t *Tree) due(pid int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.killed || pid == t.first && !t.asked
}
