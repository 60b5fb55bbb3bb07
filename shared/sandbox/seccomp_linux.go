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

// denied returns the system calls that no job needs and that have opened, or could open, a way out
// of the sandbox: namespaces and mounts, other processes' memory, the kernel's keys, clocks,
// modules and tracers, and interfaces that have often had security faults.
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

// absent returns the system calls that fail as on a kernel that does not have them. Libraries
// expect that, and fall back to others. With each of them a program could use memory that no figure
// of its processes includes:
//   - files of memfd_create and memfd_secret that are not mapped, or are being sent over a socket;
//     files in /dev/shm can be used instead
//   - System V semaphores and messages, and POSIX message queues; sem_open and multiprocessing need none of them
//   - rules of Landlock and filters of seccomp, any number of each
//
// clone3 is absent because its flags lie in memory, where a filter cannot read them.
func absent(level Level) []string {
	list := []string{
		"clone3", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "memfd_create", "memfd_secret",
		"mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
		"msgctl", "msgget", "msgrcv", "msgsnd", "seccomp", "semctl", "semget", "semop", "semtimedop",
	}
	if level != Namespaces { // then System V shared memory is the machine's, and outlives the program
		list = append(list, "shmat", "shmctl", "shmdt", "shmget")
	}
	return list
}

// unfit returns the system calls that fail as if they did not support the given files, which
// happens with many kinds of files. A pipe that they fill keeps whole pages, even huge ones, of
// files and memory that no longer exist otherwise.
func unfit() []string { return []string{"splice", "tee", "vmsplice"} }

// newNamespaces are the flags of clone(2) that make namespaces.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// applySeccomp refuses the denied system calls with EPERM, and all calls with the numbers of
// another architecture. With pinned, it also refuses to move to other CPUs.
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
	// Each group is in a filter of its own: if the conditions of a call do not hold, the library would
	// go on and compare the numbers of the next calls with an argument. The last filter refuses the
	// call that loads filters.
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

// refuseForeignCalls answers ENOSYS to every call that does not use the numbers of amd64. The
// library's filter would let the calls of 32-bit programs pass.
func refuseForeignCalls() error {
	return install(
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: archOffset},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.AUDIT_ARCH_X86_64},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	)
}

// The offsets in struct seccomp_data on little-endian machines, as nearly all are that the library
// supports.
const (
	numberOffset = 0
	archOffset   = 4
	argsOffset   = 16
)

// pretend makes two kinds of calls succeed without doing anything. One sets the size of a socket's
// buffer, which the kernel treats only as a hint. The other forbids other processes to inspect the
// calling one, which only the first stage may do anyway. The library cannot do this, since it turns
// the answer 0 into EPERM.
func pretend() error {
	info, err := arch.GetInfo("")
	if err != nil || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil //nolint:nilerr // LoadFilter refuses what it does not know
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// is skips so many instructions after the next one.
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

// install adds a filter to this thread.
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
