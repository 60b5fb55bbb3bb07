package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Pipes are the standard streams of one program. Pipes have no common order, so it is made: each
// holds a single packet (pipe(2), O_DIRECT), so that a program that has written to one stream waits
// until that was read before it can write to it again, and epoll tells which of the two was written
// to first. That costs a change of processes for each write. A program that writes a lot to one
// stream alone therefore gets a large pipe, until it writes to the other one again. A program that
// does not wait, since it has made its end non-blocking, may lose what finds no room when it exits,
// as Node.js does: its pipes are as large as they can be, and the order is that in which they
// happen to be read. What is written by /dev/stdout, opened anew, is no packet, and the kernel may
// put what follows beside it, so there too the order is that of reading.
type Pipes struct {
	writer    *Writer
	epoll     int
	wake      int
	pipes     [2]*pipe
	readable  []*pipe // that have something to read, in the order in which it was written
	stopped   bool
	unordered bool // the order is given up, since the program does not wait
	done      chan struct{}
}

// User is whom a program runs as.
type User struct{ UID, GID int } // -1: as this process

// NewPipes returns the pipes of a program. What it writes goes to w, which nobody else may use
// until Finish has returned. nonblocking says that it is known not to wait; of others that is found
// out when it may be too late for a line.
func NewPipes(w *Writer, user User, nonblocking bool) (p *Pipes, err error) {
	p = &Pipes{writer: w, epoll: -1, wake: -1, done: make(chan struct{})}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("register pipes: %w", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("register pipes: %w", err)
	}
	if err = p.register(p.wake); err != nil {
		return nil, err
	}
	for _, s := range []Stream{Stdout, Stderr} {
		if p.pipes[s], err = newPipe(s, user); err != nil {
			return nil, err
		}
		if err = p.register(p.pipes[s].read); err != nil {
			return nil, err
		}
	}
	if nonblocking {
		p.giveUpOrder()
	}
	return p, nil
}

// giveUpOrder gives up the order for room.
func (p *Pipes) giveUpOrder() {
	p.unordered = true
	for _, e := range p.pipes {
		e.packets(false)
		e.large = e.resize(unorderedPipe) == nil || e.resize(largePipe) == nil
	}
}

// register asks for a notice each time that something is written. Notices come in the order of the
// writes.
func (p *Pipes) register(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)} //nolint:gosec // a descriptor is small
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("register pipes: %w", err)
	}
	return nil
}

// Stdout is what the program is to have as its standard output.
func (p *Pipes) Stdout() *os.File { return p.pipes[Stdout].write }

// Stderr is what the program is to have as its standard error.
func (p *Pipes) Stderr() *os.File { return p.pipes[Stderr].write }

// Run reads until Finish is called.
func (p *Pipes) Run() {
	defer close(p.done)
	// A packet that does not fit would lose its end. The program can have as much as 1 MiB before one
	// (pipe(7), pipe-max-size).
	buffer := make([]byte, 1<<20+64<<10)
	for p.wait() {
		e := p.readable[0]
		p.readable = p.readable[1:]
		p.take(e, buffer)
	}
	for _, e := range p.pipes {
		for e.readOnce(buffer, p.writer) {
		}
	}
	p.writer.Flush()
}

// wait returns once there is something to read, or false when there will be no more.
func (p *Pipes) wait() bool {
	for p.poll(0); len(p.readable) == 0; {
		if p.stopped {
			return false
		}
		timeout := -1
		if after := p.writer.Settle(); after > 0 {
			timeout = int(after.Milliseconds()) + 1
		}
		p.poll(timeout)
	}
	return true
}

// poll notes which pipes have something to read, and whether Finish was called.
func (p *Pipes) poll(timeout int) {
	var events [3]unix.EpollEvent
	n, err := unix.EpollWait(p.epoll, events[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		p.stopped = true // it cannot fail otherwise
	}
	for _, event := range events[:max(n, 0)] {
		switch int(event.Fd) {
		case p.wake:
			p.stopped = true
		case p.pipes[Stdout].read:
			p.readable = append(p.readable, p.pipes[Stdout])
		case p.pipes[Stderr].read:
			p.readable = append(p.readable, p.pipes[Stderr])
		}
	}
}

// take reads the packet of which a notice came. A large pipe has several; they are read while the
// other is silent.
func (p *Pipes) take(e *pipe, buffer []byte) {
	if !p.unordered {
		p.keepOrder(e, buffer)
	}
	// Notices up to here are of what is read now.
	p.poll(0)
	if !e.readOnce(buffer, p.writer) {
		return
	}
	if !e.large {
		p.readable = slices.DeleteFunc(p.readable, func(o *pipe) bool { return o == e })
	}
	e.streak++
	switch {
	case !p.unordered && e.nonblocking():
		p.giveUpOrder()
	case !e.large && e.streak >= manyPackets:
		e.packets(false)
		e.large = e.resize(largePipe) == nil
	}
	// A pipe with room for several writes has more, perhaps without another notice. The program can
	// make its own larger.
	if e.large || e.size() > smallPipe {
		e.large = true
		p.again(e)
	}
}

// keepOrder keeps the order when the other pipe is a large one, and after a pause.
func (p *Pipes) keepOrder(e *pipe, buffer []byte) {
	other := p.pipes[e.stream.Other()]
	other.streak = 0
	if other.large {
		other.drain(buffer, p.writer)
		other.shrink()
	}
	if e.large && time.Since(e.last) > quiet {
		e.shrink()
	}
}

// again has the rest of a pipe read after what the other got meanwhile.
func (p *Pipes) again(e *pipe) {
	p.poll(0)
	if e.waiting() > 0 && !slices.Contains(p.readable, e) {
		p.readable = append(p.readable, e)
	}
}

// Finish returns once all is read and written. Nothing of the program may live any more.
func (p *Pipes) Finish() {
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // eventfd(2); it is never full
	<-p.done
	p.close()
}

func (p *Pipes) close() {
	for _, e := range p.pipes {
		if e != nil {
			e.close()
		}
	}
	for _, fd := range []int{p.epoll, p.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
