package sandbox

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// denied are system calls that no job needs and that have opened, or could open, ways out: other
// namespaces and mounts, other processes' memory, the kernel's keys, clocks, modules and tracers,
// and interfaces with a record of faults.
func denied() []string {
	return []string{
		"acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "finit_module",
		"fsconfig", "fsmount",
		"fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl",
		"kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount", "mount_setattr", "move_mount",
		"nfsservctl", "open_by_handle_at",
		"open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
		"process_vm_writev", "ptrace", "quotactl",
		"quotactl_fd", "reboot", "request_key", "setns", "settimeofday", "swapoff", "swapon", "syslog", "umount2", "unshare",
		"userfaultfd", "vhangup",
	}
}

// absent are system calls that the program finds as in a kernel that does not have them, which
// libraries expect and fall back from. Through each of them a program gets memory that no figure of
// its processes shows:
//   - files of memfd_create and memfd_secret that are mapped nowhere, or under way in a socket;
//     in /dev/shm such files work
//   - System V semaphores and messages, and POSIX message queues; sem_open and multiprocessing need none of them
//   - rules of Landlock and filters of seccomp, any number of each
//
// The flags of clone3 lie in memory, where no filter can read them.
func absent(level Level) []string {
	list := []string{
		"clone3", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "memfd_create", "memfd_secret",
		"mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
		"msgctl", "msgget", "msgrcv", "msgsnd", "seccomp", "semctl", "semget", "semop", "semtimedop",
	}
	if level != Namespaces { // where System V shared memory is the machine's, and stays there when the program is gone
		list = append(list, "shmat", "shmctl", "shmdt", "shmget")
	}
	return list
}

// unfit are system calls that say that they do not work with these files, as they do of many. A
// pipe that they fill holds on to whole pages of files and memory that are gone otherwise, huge
// ones too.
func unfit() []string { return []string{"splice", "tee", "vmsplice"} }

// newNamespaces are the flags of clone(2) that make namespaces.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// applySeccomp refuses the denied system calls with EPERM, and calls in another architecture's
// numbering altogether. pinned refuses to move to other CPUs as well.
func applySeccomp(level Level, pinned bool) error {
	if runtime.GOARCH == "amd64" {
		if err := refuseForeignCalls(); err != nil {
			return err
		}
	}
	if err := pretend(); err != nil {
		return err
	}
	names := known(denied())
	if pinned {
		names = append(names, "sched_setaffinity")
	}
	// Each in a filter of its own: where the conditions of a call do not hold, the library goes on to
	// compare numbers of calls with an argument. The call that loads filters is refused by the last
	// one.
	for _, group := range conditional() {
		if err := load(group); err != nil {
			return err
		}
	}
	return load(
		seccomp.SyscallGroup{Action: answer(unix.EPERM), Names: names},
		seccomp.SyscallGroup{Action: answer(unix.ENOSYS), Names: known(absent(level))},
		seccomp.SyscallGroup{Action: answer(unix.EINVAL), Names: known(unfit())},
	)
}

func load(groups ...seccomp.SyscallGroup) error {
	err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow, Syscalls: groups,
	}})
	if err != nil {
		return fmt.Errorf("restrict system calls: %w", err)
	}
	return nil
}

func answer(errno unix.Errno) seccomp.Action { return seccomp.ActionErrno | seccomp.Action(errno) } //nolint:gosec // error numbers are small

// refuseForeignCalls answers ENOSYS to every call that is not numbered as on amd64. The library's
// filter would let calls of 32-bit programs pass unseen.
func refuseForeignCalls() error {
	return install(
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: archOffset},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.AUDIT_ARCH_X86_64},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	)
}

// The places in struct seccomp_data, on machines with the lower half of a number first, as all are
// that Go has seccomp for but few.
const (
	numberOffset = 0
	archOffset   = 4
	argsOffset   = 16
)

// pretend answers calls as done that do nothing: what the size of a socket's buffer is to be, which
// is a wish that the kernel grants as far as it likes, and that a process must not be looked into,
// which nobody but the watcher may anyway. The library takes the answer 0 for EPERM.
func pretend() error {
	info, err := arch.GetInfo("")
	if err != nil || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil //nolint:nilerr // LoadFilter refuses what it does not know
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// is goes on so many lines after the next one.
	is := func(value uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, Jf: no, K: value}
	}
	return install( // an argument has 8 bytes
		load(archOffset), is(uint32(info.ID), 0, 11),
		load(numberOffset), is(unix.SYS_PRCTL, 6, 0), is(unix.SYS_SETSOCKOPT, 0, 8),
		load(argsOffset+8), is(unix.SOL_SOCKET, 0, 6),
		load(argsOffset+16), is(unix.SO_SNDBUF, 3, 0), is(unix.SO_RCVBUF, 2, 3),
		load(argsOffset), is(unix.PR_SET_DUMPABLE, 0, 1),
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	)
}

// install adds a filter of this thread.
func install(program ...unix.SockFilter) error {
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]} //nolint:gosec // a short program
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0,
		0); err != nil {
		return fmt.Errorf("restrict system calls: %w", err)
	}
	runtime.KeepAlive(program)
	return nil
}

// known leaves out the calls that this architecture does not have.
func known(names []string) []string {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil // LoadFilter says so
	}
	var list []string
	for _, name := range names {
		if _, found := info.SyscallNames[name]; found {
			list = append(list, name)
		}
	}
	return list
}
