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

// report is why the second stage did not become the program, as JSON. Nothing is written when it
// did.
type report struct{ Reason, Message, Fault string }

// The exit codes of the second stage, those of a shell.
const (
	codeCannotRun = 126
	codeNotFound  = 127
)

// execMain is the second stage: it takes rights from itself and becomes the program. All of it
// happens on one thread, the one that calls exec and is all that is left then.
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

// environment is the program's. Landlock hides what is in files and not that they are there, and
// git gives up on a system-wide configuration that it cannot read.
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
	_ = writeLine(answer, r) // nobody else could be told
	os.Exit(codeCannotRun)
}

// probeRights makes sure that what was taken is really gone.
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

// restrict takes rights from this process. The order counts: what is taken first must not be needed
// later.
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

// What each process may hold of memory that is not in its address space, or pinned there.
const (
	lockedMemory   = 64 << 10 // as before Linux 5.16; also what is pinned by sends without copying
	pendingSignals = 4096     // timers count as well
)

// lower sets a limit, unless there is a lower one already that only the privileged could raise.
func lower(which int, value uint64) error {
	var is unix.Rlimit
	if err := unix.Getrlimit(which, &is); err != nil {
		return err
	}
	value = min(value, is.Max)
	return unix.Setrlimit(which, &unix.Rlimit{Cur: value, Max: value})
}

// setLimits sets the limits of each process, and the CPUs.
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
	if req.Processes > 0 && req.Level == Namespaces { // else others of the same user count as well
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
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // fails for those there are not, and without the right to
	}
}
