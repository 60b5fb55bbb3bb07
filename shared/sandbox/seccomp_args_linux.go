package sandbox

import (
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// Numbers of linux/prctl.h, linux/fcntl.h, linux/shm.h that package unix does not have.
const (
	ofdSetLock     = 37
	ofdSetLockWait = 38
	shmHugePages   = 0o4000
)

// maxPipe is the size of a pipe that was not made larger, on machines with pages of 4 KiB.
const maxPipe = 64 << 10

// when answers a call with an error if its arguments fulfil all conditions of one of the lists.
func when(errno unix.Errno, call string, any ...seccomp.ArgumentConditions) seccomp.SyscallGroup {
	g := seccomp.SyscallGroup{Action: answer(errno)}
	for _, all := range any {
		g.NamesWithCondtions = append(g.NamesWithCondtions, seccomp.NameWithConditions{Name: call, Conditions: all})
	}
	return g
}

// is holds if the lower half of an argument has the value. A filter sees 64 bits, of which the
// kernel takes 32 for an int, so a comparison of all bits would miss a value with bits in the upper
// half.
func is(argument uint32, value uint32) seccomp.ArgumentConditions {
	list := seccomp.ArgumentConditions{{Argument: argument, Operation: seccomp.BitsNotSet, Value: uint64(^value)}}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if value&bit != 0 {
			list = append(list, seccomp.Condition{Argument: argument, Operation: seccomp.BitsSet, Value: uint64(bit)})
		}
	}
	return list
}

// isNone holds if an argument has none of the values, or has bits in its upper half.
func isNone(argument uint32, values ...uint64) seccomp.ArgumentConditions {
	var list seccomp.ArgumentConditions
	for _, v := range values {
		list = append(list, seccomp.Condition{Argument: argument, Operation: seccomp.NotEqual, Value: v})
	}
	return list
}

func has(argument uint32, bit uint64) seccomp.ArgumentConditions {
	return seccomp.ArgumentConditions{{Argument: argument, Operation: seccomp.BitsSet, Value: bit}}
}

// conditional returns the calls that fail for some arguments only, as on a kernel or a machine that
// does not support them.
func conditional() []seccomp.SyscallGroup {
	inet, inet6, netlink := is(0, unix.AF_INET), is(0, unix.AF_INET6), is(0, unix.AF_NETLINK)
	others := isNone(2, 0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6)
	enlarged := seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.GreaterThan, Value: maxPipe}}
	var namespaces []seccomp.ArgumentConditions
	for bit := uint64(1); bit <= newNamespaces; bit <<= 1 {
		if newNamespaces&bit != 0 {
			namespaces = append(namespaces, has(0, bit))
		}
	}
	return []seccomp.SyscallGroup{
		when(unix.EPERM, "clone", namespaces...),
		// The first simulates input into a terminal. The second selects a protocol for a terminal, for
		// which the kernel loads drivers that have often had security faults.
		when(unix.EPERM, "ioctl", is(1, unix.TIOCSTI), is(1, unix.TIOCSETD)),
		when(unix.EPERM, "fcntl", slices.Concat(is(1, unix.F_SETPIPE_SZ), enlarged)),
		// Locks that belong to an open file do not belong to a process, so they could not be counted.
		when(unix.EINVAL, "fcntl", is(1, ofdSetLock), is(1, ofdSetLockWait)),
		when(unix.EINVAL, "prctl", is(0, unix.PR_SET_SECCOMP)),
		// Other sockets reach parts of the kernel that no job needs and whose memory is not counted. The
		// C library asks netlink for the machine's addresses.
		when(unix.EAFNOSUPPORT, "socket", isNone(0, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK)),
		when(unix.EPROTONOSUPPORT, "socket", slices.Concat(inet, others), slices.Concat(inet6, others),
			slices.Concat(netlink, isNone(2, unix.NETLINK_ROUTE))),
		// Huge pages belong to the machine, and are not counted for a process.
		when(unix.ENOMEM, "mmap", has(3, unix.MAP_HUGETLB)),
		when(unix.ENOMEM, "shmget", has(2, shmHugePages)),
	}
}
