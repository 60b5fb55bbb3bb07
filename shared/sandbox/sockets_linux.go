package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Numbers of linux/sock_diag.h, linux/unix_diag.h and linux/inet_diag.h.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20
	allStates        = ^uint32(0)

	showPeer, showQueue, showMemory         = 1 << 2, 1 << 4, 1 << 5
	unixPeer, unixQueue, unixMemory         = 2, 4, 5
	unixHeader, inetHeader                  = 16, 72
	inetMemory                              = 7
	inetSourcePort, inetDestPort, inetInode = 4, 6, 68
	tcpListen                               = 10
)

// socketBytes is the memory that a socket takes without its buffers.
const socketBytes = 2 << 10

// addSockets asks the kernel for the buffers of all sockets, and adds up those of the program: of
// the sockets that its processes have open, and of their other ends. If the kernel does not answer,
// each socket counts as full.
func (k *kernelObjects) addSockets() {
	if len(k.sockets) == 0 {
		return
	}
	d := &diag{full: defaultBuffer(), datagrams: datagramQueue(), ours: k.sockets}
	total, err := d.total()
	if err != nil {
		total = int64(len(k.sockets)) * d.full
	}
	k.queued = total + int64(len(k.sockets))*socketBytes
}

// defaultBuffer returns how many bytes a socket's buffer can hold. Programs cannot ask for more.
func defaultBuffer() int64 {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
			return int64(n)
		}
	}
	return 208 << 10
}

// datagramQueue returns how many datagrams can wait at a socket.
func datagramQueue() int64 {
	text, err := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
	if err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32); err == nil {
			return n + 1
		}
	}
	return 11
}

// diag asks the kernel for sockets (sock_diag(7)).
type diag struct {
	full, datagrams int64
	ours            map[uint32]bool
	fd              int

	ports   map[uint16]bool // at which the program listens
	pairs   map[uint32]bool // both ports of its connections
	orphans []orphan
	sum     int64
}

// orphan is a connection that no process has open: it was not accepted yet, or was closed and still
// has bytes to send.
type orphan struct {
	local, remote uint16
	bytes         int64
}

func (d *diag) total() (int64, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return 0, fmt.Errorf("ask for sockets: %w", err)
	}
	defer unix.Close(fd)
	d.fd, d.ports, d.pairs = fd, map[uint16]bool{}, map[uint32]bool{}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return 0, err
	}
	request := make([]byte, 24)
	request[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(request[4:], allStates)
	binary.NativeEndian.PutUint32(request[12:], showPeer|showQueue|showMemory)
	if err := d.dump(request, d.addUnix); err != nil {
		return 0, err
	}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			request := make([]byte, 56)
			request[0], request[1], request[2] = family, protocol, 1<<(inetMemory-1)
			binary.NativeEndian.PutUint32(request[4:], allStates)
			if err := d.dump(request, d.addInet); err != nil && !isAbsent(err) {
				return 0, err
			}
		}
	}
	for _, o := range d.orphans {
		if d.ports[o.local] || d.pairs[pair(o.remote, o.local)] {
			d.sum += o.bytes
		}
	}
	return d.sum, nil
}

// isAbsent reports whether an error says that the kernel has no such sockets.
func isAbsent(err error) bool { return err == unix.ENOENT } //nolint:errorlint // dump returns it bare

func pair(local, remote uint16) uint32 { return uint32(local)<<16 | uint32(remote) }

// dump sends the request, and calls take with each answer.
func (d *diag) dump(request []byte, take func(message []byte)) error {
	message := make([]byte, unix.NLMSG_HDRLEN+len(request))
	binary.NativeEndian.PutUint32(message, uint32(len(message))) //nolint:gosec // short
	binary.NativeEndian.PutUint16(message[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	copy(message[unix.NLMSG_HDRLEN:], request)
	if err := unix.Sendto(d.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(d.fd, buffer, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for data := buffer[:n]; len(data) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(data))
			if size < unix.NLMSG_HDRLEN || size > len(data) {
				return unix.EBADMSG
			}
			body := data[unix.NLMSG_HDRLEN:size]
			switch binary.NativeEndian.Uint16(data[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return failure(body)
			default:
				take(body)
			}
			data = data[min(align(size), len(data)):]
		}
	}
}

func failure(body []byte) error {
	if len(body) < 4 {
		return unix.EBADMSG
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(body))) //nolint:gosec // the kernel's
}

func align(n int) int { return (n + 3) &^ 3 }

// netlinkAttributes returns the values of a netlink message by type.
func netlinkAttributes(data []byte) map[uint16][]byte {
	found := map[uint16][]byte{}
	for len(data) >= 4 {
		size := int(binary.NativeEndian.Uint16(data))
		if size < 4 || size > len(data) {
			break
		}
		found[binary.NativeEndian.Uint16(data[2:])] = data[4:size]
		data = data[min(align(size), len(data)):]
	}
	return found
}

// memoryOf adds up the memory of a socket: received and unsent bytes, reserved memory, options and
// backlog.
func memoryOf(value []byte) int64 {
	at := func(i int) int64 {
		if len(value) < 4*(i+1) {
			return 0
		}
		return int64(binary.NativeEndian.Uint32(value[4*i:]))
	}
	const received, sent, forward, queued, options, backlog = 0, 2, 4, 5, 6, 7
	return at(received) + max(at(sent), at(queued)) + at(forward) + at(options) + at(backlog)
}

// addUnix adds a Unix socket. The kernel charges the bytes that wait at a socket to their sender.
// If the sender is closed, only their length is known, and many short messages take far more memory
// than their length.
func (d *diag) addUnix(message []byte) {
	if len(message) < unixHeader {
		return
	}
	kind := message[1]
	inode := binary.NativeEndian.Uint32(message[4:])
	found := netlinkAttributes(message[unixHeader:])
	var peer, waiting uint32
	if v := found[unixPeer]; len(v) >= 4 {
		peer = binary.NativeEndian.Uint32(v)
	}
	if v := found[unixQueue]; len(v) >= 4 {
		waiting = binary.NativeEndian.Uint32(v)
	}
	if !d.ours[inode] && !d.ours[peer] {
		return
	}
	d.sum += memoryOf(found[unixMemory])
	switch {
	case waiting == 0 || message[2] == tcpListen: // of a listener it is the number of connections
	case kind == unix.SOCK_DGRAM:
		d.sum += d.full * d.datagrams
	case peer == 0:
		d.sum += d.full
	}
}

func (d *diag) addInet(message []byte) {
	if len(message) < inetHeader {
		return
	}
	inode := binary.NativeEndian.Uint32(message[inetInode:])
	local, remote := binary.BigEndian.Uint16(message[inetSourcePort:]), binary.BigEndian.Uint16(message[inetDestPort:])
	bytes := memoryOf(netlinkAttributes(message[inetHeader:])[inetMemory])
	switch {
	case d.ours[inode] && message[1] == tcpListen:
		d.ports[local] = true
		d.sum += bytes
	case d.ours[inode]:
		d.pairs[pair(local, remote)] = true
		d.sum += bytes
	case inode == 0:
		d.orphans = append(d.orphans, orphan{local, remote, bytes})
	}
}
