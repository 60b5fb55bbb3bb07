package spool

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipe is one of the two pipes of a program.
type pipe struct {
	stream Stream
	read   int
	write  *os.File
	large  bool
	streak int       // how many packets came while the other pipe had none
	last   time.Time // when something was read
}

const (
	smallPipe     = 4 << 10 // the kernel makes it a page
	largePipe     = 256 << 10
	unorderedPipe = 1 << 20 // pipe(7), pipe-max-size
	// manyPackets in a row make a pipe large, and a pause of quiet makes it small again.
	manyPackets = 1024
	quiet       = 20 * time.Millisecond
)

func newPipe(s Stream, user User) (*pipe, error) {
	var fds [2]int
	err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) { // a kernel that has no packets, as that of gVisor: the order is a coarser one
		err = unix.Pipe2(fds[:], unix.O_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p := &pipe{stream: s, read: fds[0], write: os.NewFile(uintptr(fds[1]), "pipe"), last: time.Now()}
	// else the order is a coarser one
	_ = p.resize(smallPipe)
	err = unix.SetNonblock(p.read, true)
	if err == nil && user.UID >= 0 { // so that the program may open /dev/stdout
		err = unix.Fchown(fds[1], user.UID, user.GID)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	return p, nil
}

func (p *pipe) close() {
	unix.Close(p.read)
	p.write.Close()
}

// resize sets how much the pipe holds. It fails when more is in it.
func (p *pipe) resize(size int) error {
	_, err := unix.FcntlInt(uintptr(p.read), unix.F_SETPIPE_SZ, size)
	return err
}

// packets sets whether each write is a packet of its own, and leaves the other flags, which the
// program may have set.
func (p *pipe) packets(on bool) {
	fd := p.write.Fd()
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
func (p *pipe) nonblocking() bool {
	flags, err := unix.FcntlInt(p.write.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_NONBLOCK != 0
}

// readOnce reads what one read gets, and reports whether there was anything.
func (p *pipe) readOnce(buffer []byte, to *Writer) bool {
	for {
		n, err := unix.Read(p.read, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return false
		}
		p.last = time.Now()
		to.Write(p.stream, buffer[:n])
		return true
	}
}

// drain reads what is there now. What is written meanwhile comes later.
func (p *pipe) drain(buffer []byte, to *Writer) {
	for left := p.waiting(); left > 0; {
		n, err := unix.Read(p.read, buffer[:min(left, len(buffer))])
		if n <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
		if n > 0 {
			to.Write(p.stream, buffer[:n])
			left -= n
		}
	}
}

// shrink makes a large pipe small again, if little enough is in it. A program that goes on writing
// keeps the large one: a pause can also be ours, on a busy machine.
func (p *pipe) shrink() {
	if p.resize(smallPipe) != nil {
		return
	}
	p.packets(true)
	p.streak, p.large = 0, false
}

// size returns how many bytes the pipe can hold.
func (p *pipe) size() int {
	n, err := unix.FcntlInt(uintptr(p.read), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return smallPipe
	}
	return n
}

// waiting returns how many bytes are in the pipe.
func (p *pipe) waiting() int {
	n, err := unix.IoctlGetInt(p.read, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
