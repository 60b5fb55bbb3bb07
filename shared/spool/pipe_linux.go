package spool

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// end is one of the pipes.
type end struct {
	stream Stream
	read   int
	write  *os.File
	large  bool
	alone  int       // how many packets came while the other had none
	last   time.Time // when something was read
}

const (
	smallPipe = 4 << 10 // the kernel makes it a page
	largePipe = 256 << 10
	loosePipe = 1 << 20 // pipe(7), pipe-max-size
	// manyPackets in a row make a pipe large, and a pause of quiet makes it small again.
	manyPackets = 1024
	quiet       = 20 * time.Millisecond
)

func newEnd(s Stream, user User) (*end, error) {
	var fds [2]int
	err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) { // a kernel that has no packets, as that of gVisor: the order is a coarser one
		err = unix.Pipe2(fds[:], unix.O_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	e := &end{stream: s, read: fds[0], write: os.NewFile(uintptr(fds[1]), "pipe"), last: time.Now()} //nolint:gosec // not negative
	// else the order is a coarser one
	_ = e.resize(smallPipe)
	err = unix.SetNonblock(e.read, true)
	if err == nil && user.UID >= 0 { // so that the program may open /dev/stdout
		err = unix.Fchown(fds[1], user.UID, user.GID)
	}
	if err != nil {
		e.close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	return e, nil
}

func (e *end) close() {
	unix.Close(e.read)
	e.write.Close()
}

// resize sets how much the pipe holds. It fails when more is in it.
func (e *end) resize(size int) error {
	_, err := unix.FcntlInt(uintptr(e.read), unix.F_SETPIPE_SZ, size) //nolint:gosec // not negative
	return err
}

// packets sets whether each write is a packet of its own, and leaves the other flags, which the
// program may have set.
func (e *end) packets(on bool) {
	fd := e.write.Fd()
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, _ = unix.FcntlInt(fd, unix.F_SETFL, flags) // else the order is a coarser one
}

// nonblocking reports whether the program has made its end so.
func (e *end) nonblocking() bool {
	flags, err := unix.FcntlInt(e.write.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK != 0
}

// readOnce reads what one read gets, and reports whether there was anything.
func (e *end) readOnce(buffer []byte, to *Writer) bool {
	for {
		n, err := unix.Read(e.read, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return false
		}
		e.last = time.Now()
		to.Write(e.stream, buffer[:n])
		return true
	}
}

// drain reads what is there now. What is written meanwhile comes later.
func (e *end) drain(buffer []byte, to *Writer) {
	for left := e.waiting(); left > 0; {
		n, err := unix.Read(e.read, buffer[:min(left, len(buffer))])
		if n <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
		if n > 0 {
			to.Write(e.stream, buffer[:n])
			left -= n
		}
	}
}

// calm makes a large pipe small again, if little enough is in it. A program that goes on writing
// keeps the large one: a pause can also be ours, on a busy machine.
func (e *end) calm() {
	if e.resize(smallPipe) != nil {
		return
	}
	e.packets(true)
	e.alone, e.large = 0, false
}

// size returns how many bytes the pipe can hold.
func (e *end) size() int {
	n, err := unix.FcntlInt(uintptr(e.read), unix.F_GETPIPE_SZ, 0) //nolint:gosec // not negative
	if err != nil {
		return smallPipe
	}
	return n
}

// waiting returns how many bytes are in the pipe.
func (e *end) waiting() int {
	n, err := unix.IoctlGetInt(e.read, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
