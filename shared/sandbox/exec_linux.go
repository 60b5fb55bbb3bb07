package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// report says, as JSON, why the second stage did not become the program. When it did, nothing is
// written.
type report struct{ Reason, Message, Fault string }

// The exit codes of the second stage are those of a shell.
const (
	codeCannotRun = 126
	codeNotFound  = 127
)

// execMain is the second stage: it gives up rights and becomes the program. All of it happens on
// one thread, because rights belong to a thread, and only the thread that calls exec remains.
func execMain() {
	runtime.LockOSThread()
	keepPrivate(requestFD)
	answer := os.NewFile(reportFD, "report")
	var req request
	if err := readLine(bufio.NewReader(os.NewFile(requestFD, "request")), &req); err != nil {
		fail(answer, report{Fault: "read request: " + err.Error()})
	}
	workspace := req.Workspace
	if req.Level == Namespaces {
		workspace = workspacePath
	}
	if err := os.Chdir(workspace); err != nil {
		fail(answer, report{Fault: "enter the workspace: " + err.Error()})
	}
	if err := req.restrict(workspace); err != nil {
		fail(answer, report{Fault: err.Error()})
	}
	if len(req.Args) == 1 && string(req.Args[0]) == "--probe" && req.Path == "/proc/self/exe" {
		os.Exit(probeRights(&req, answer))
	}
	argv := append([]string{req.Path}, toStrings(req.Args)...)
	err := syscall.Exec(req.Path, argv, req.environment())
	code := codeCannotRun
	if err == syscall.ENOENT {
		code = codeNotFound
	}
	_ = writeLine(answer, report{Reason: CannotRun, Message: explain(req.Path, err)})
	os.Exit(code)
}

// environment returns the program's environment. With Landlock a program sees that a file exists
// but cannot read it, and git fails if it cannot read its system-wide configuration.
func (req *request) environment() []string {
	const noSystemConfig = "GIT_CONFIG_NOSYSTEM="
	env := toStrings(req.Env)
	set := func(s string) bool { return strings.HasPrefix(s, noSystemConfig) }
	if req.Level == Landlock && !slices.ContainsFunc(env, set) {
		env = append(env, noSystemConfig+"1")
	}
	return env
}

func fail(answer *os.File, r report) {
	_ = writeLine(answer, r) // nobody else can be told of an error
	os.Exit(codeCannotRun)
}

// probeRights checks that this process really lost the rights that it gave up.
func probeRights(req *request, answer *os.File) int {
	if req.Level == None {
		return 0
	}
	for _, path := range append(req.HidePaths, "/etc/shadow") {
		if d, err := os.Open(path); err == nil {
			names, _ := d.Readdirnames(1)
			d.Close()
			if len(names) > 0 || path == "/etc/shadow" {
				_ = writeLine(answer, report{Fault: path + " can be read"})
				return 1
			}
		}
	}
	return 0
}

// restrict gives up the rights of this process. The order matters: a step must not need a right
// that an earlier one gave up.
func (req *request) restrict(workspace string) error {
	unix.Umask(0o022)
	if err := req.setLimits(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	dropBounding()
	dropCapabilities(false)
	if req.Level == None {
		return nil
	}
	if err := req.applyLandlock(workspace); err != nil {
		return err
	}
	return applySeccomp(req.Level, len(req.CPUs) > 0)
}

// How much memory each process may hold that is outside of its address space, or pinned.
const (
	lockedMemory   = 64 << 10 // the default before Linux 5.16; it also bounds sends without copying
	pendingSignals = 4096     // timers count too
)

// lower sets a limit, unless a lower one is in force, which only a privileged process could raise.
func lower(which int, value uint64) error {
	var is unix.Rlimit
	if err := unix.Getrlimit(which, &is); err != nil {
		return err
	}
	value = min(value, is.Max)
	return unix.Setrlimit(which, &unix.Rlimit{Cur: value, Max: value})
}

// setLimits sets the limits of each process, and the CPUs that it may use.
func (req *request) setLimits() error {
	limits := map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: lockedMemory, unix.RLIMIT_MSGQUEUE: 0,
		unix.RLIMIT_SIGPENDING: pendingSignals,
	}
	if req.OpenFiles > 0 {
		limits[unix.RLIMIT_NOFILE] = uint64(req.OpenFiles)
	}
	if req.FileBytes > 0 {
		limits[unix.RLIMIT_FSIZE] = uint64(req.FileBytes)
	}
	if req.Processes > 0 && req.Level == Namespaces { // otherwise the user's other processes would count too
		limits[unix.RLIMIT_NPROC] = uint64(req.Processes)
	}
	for which, value := range limits {
		if err := lower(which, value); err != nil {
			return fmt.Errorf("set limit %d: %w", which, err)
		}
	}
	if len(req.CPUs) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, cpu := range req.CPUs {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to CPUs: %w", err)
	}
	return nil
}

func dropBounding() {
	const last = 63
	for c := range uintptr(last) {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // fails for unknown capabilities, and without the right to drop any
	}
}
