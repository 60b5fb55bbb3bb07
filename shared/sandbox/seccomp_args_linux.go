package sandbox

import (
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

// when is a system call with arguments that fulfil all conditions.
func when(call string, conditions ...seccomp.ArgumentConditions) seccomp.NameWithConditions {
	var all seccomp.ArgumentConditions
	for _, c := range conditions {
		all = append(all, c...)
	}
	return seccomp.NameWithConditions{Name: call, Conditions: all}
}

// is holds when the lower half of an argument has the value. A filter sees 64 bits of which the kernel takes 32 for an int:
// compared as a whole, a value with something in the upper half would not be recognized.
func is(argument uint32, value uint32) seccomp.ArgumentConditions {
	list := seccomp.ArgumentConditions{{Argument: argument, Operation: seccomp.BitsNotSet, Value: uint64(^value)}}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if value&bit != 0 {
			list = append(list, seccomp.Condition{Argument: argument, Operation: seccomp.BitsSet, Value: uint64(bit)})
		}
	}
	return list
}

// isNone holds when an argument has none of the values, and also when there is something in the upper half.
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

// deniedArguments are calls that are not permitted with some arguments.
func deniedArguments() []seccomp.NameWithConditions {
	list := []seccomp.NameWithConditions{
		when("ioctl", is(1, unix.TIOCSTI)), // types into a terminal
		when("fcntl", is(1, unix.F_SETPIPE_SZ), seccomp.ArgumentConditions{
			{Argument: 2, Operation: seccomp.GreaterThan, Value: maxPipe},
		}),
	}
	for bit := uint64(1); bit <= newNamespaces; bit <<= 1 {
		if newNamespaces&bit != 0 {
			list = append(list, when("clone", has(0, bit)))
		}
	}
	return list
}

// answeredArguments are calls that, with some arguments, get the answer of a kernel or machine that cannot do it, or that
// has done it when nothing depends on it.
func answeredArguments() []seccomp.SyscallGroup {
	const inet, inet6, netlink = unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK
	protocols := isNone(2, 0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6)
	group := func(errno unix.Errno, calls ...seccomp.NameWithConditions) seccomp.SyscallGroup {
		return seccomp.SyscallGroup{Action: answer(errno), NamesWithCondtions: calls}
	}
	return []seccomp.SyscallGroup{
		// Others reach parts of the kernel that no job needs, and whose memory nobody counts.
		group(unix.EAFNOSUPPORT, when("socket", isNone(0, unix.AF_UNIX, inet, inet6, netlink))),
		group(unix.EPROTONOSUPPORT,
			when("socket", is(0, inet), protocols), when("socket", is(0, inet6), protocols),
			when("socket", is(0, netlink), isNone(2, unix.NETLINK_ROUTE))), // the C library asks it for interfaces
		// Locks of open files belong to no process that they could be counted for.
		group(unix.EINVAL, when("fcntl", is(1, ofdSetLock)), when("fcntl", is(1, ofdSetLockWait)),
			when("prctl", is(0, unix.PR_SET_SECCOMP))),
		// Huge pages are the machine's, and counted for nobody.
		group(unix.ENOMEM, when("mmap", has(3, unix.MAP_HUGETLB)), when("shmget", has(2, shmHugePages))),
		// The sizes of buffers are a wish, which the kernel grants as far as it likes. A process that is not dumpable could not be
		// looked into; nobody but the watcher may anyway.
		group(0,
			when("setsockopt", is(1, unix.SOL_SOCKET), is(2, unix.SO_SNDBUF)), when("setsockopt", is(1, unix.SOL_SOCKET), is(2, unix.SO_RCVBUF)),
			when("prctl", is(0, unix.PR_SET_DUMPABLE))),
	}
}
