//go:build linux

package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/proctree"
	"go-job-orchestrator/shared/spool/spooltest"
)

// TestWatchPause bounds the pause: a program that makes a look take long gains no time by it.
func TestWatchPause(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{
		0: monitorPeriod, time.Millisecond: monitorPeriod, 100 * time.Millisecond: time.Second, time.Second: maxMonitorPause,
		time.Hour: maxMonitorPause,
	} {
		if got := monitorPause(took); got != want {
			t.Errorf("after a look of %s the pause is %s, want %s", took, got, want)
		}
	}
}

// TestLogCounts has the log, which the program cannot reach, count as its own.
func TestLogCounts(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{levels: []Level{Namespaces}})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{s, t}
	p := b.program("exec sleep 1000")
	p.Log, p.WorkspaceBytes = spooltest.Open(t, t.TempDir()), 8<<20
	if _, err := p.Log.Stdout.Write(make([]byte, 9<<20)); err != nil {
		t.Fatal(err)
	}
	process, err := b.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := process.Wait(); err != nil || exit.Reason != Evicted ||
		!strings.Contains(exit.Message, "MAX_WORKSPACE_BYTES") {
		t.Errorf("exit is %+v", exit)
	}
}

// hoards are programs that take 16 MB of the disk in ways that are hard to see; each says "ready"
// when it has done so.
var hoards = map[string]struct {
	python    string
	uncounted bool
}{
	"a name":  {python: "f = open('f', 'wb'); fill(f)"},
	"no name": {python: "f = open('f', 'wb'); os.unlink('f'); fill(f)"},
	"pages only": {python: `
f = open('f', 'w+b'); fill(f)
m = mmap.mmap(f.fileno(), 0); os.unlink('f'); f.close()`},
	"a thread's own table": {python: `
libc = ctypes.CDLL(None)
done = threading.Event()
def hold():
    libc.unshare(0x400)  # CLONE_FILES
    f = open('f', 'wb'); os.unlink('f'); fill(f)
    done.set()
    time.sleep(1000)
threading.Thread(target=hold, daemon=True).start()
done.wait()`},
	"in flight": {uncounted: true, python: `
a, b = socket.socketpair()
f = open('f', 'wb'); os.unlink('f'); fill(f)
socket.send_fds(a, [b'x'], [f.fileno()]); f.close()`},
}

const hoardHead = `
import ctypes, mmap, os, socket, threading, time
def fill(f):
    f.write(bytes(16_000_000)); f.flush(); os.fsync(f.fileno())
`

// hoard starts a program that is ready when a file says so.
func (b *box) hoard(script string, p Program) *Process {
	b.t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		b.t.Fatal(err)
	}
	if python, err = filepath.EvalSymlinks(python); err != nil {
		b.t.Fatal(err)
	}
	if out, err := exec.Command(python, "-c", "import sys; print(sys.executable)").Output(); err == nil {
		python = strings.TrimSpace(string(out))
	}
	p.Path, p.Args = python, []string{"-c", hoardHead + script + "\nopen('ready', 'w').close()\ntime.sleep(1000)\n"}
	process, err := b.Start(p)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = process.Kill()
		if _, err := process.Wait(); err != nil {
			b.t.Error(err)
		}
	})
	waitFor(b.t, filepath.Join(p.Workspace, "ready"))
	return process
}

// pythonFolders are what the interpreter needs that is not the system's.
func pythonFolders(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import sys; print(sys.prefix)").Output()
	if err != nil {
		t.Skip("no python3")
	}
	return []string{strings.TrimSpace(string(out))}
}

// TestUsage finds what a program has on the disk wherever it has it, or that there is something it
// cannot find.
func TestUsage(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{levels: []Level{Namespaces}, ReadPaths: pythonFolders(t)})
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range hoards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &box{s, t}
			process := b.hoard(h.python, b.program(""))
			got := process.Usage(t.Context())
			if got.Uncounted != h.uncounted {
				t.Errorf("uncounted: %v, want %v", got.Uncounted, h.uncounted)
			}
			if !h.uncounted && (got.Bytes < 16_000_000 || got.Bytes > 17_000_000) {
				t.Errorf("it has %d bytes, want 16 million and a little", got.Bytes)
			}
		})
	}
}

// TestPause stops a program with all it has started, and lets it go on but for what had stopped
// itself.
func TestPause(t *testing.T) {
	t.Parallel()
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		p := b.program(
			`sh -c 'kill -STOP $$' & echo $! > stopped; for i in 1 2 3; do sh -c 'while :; do sleep 0.01; done' & done; echo > ready; while :; do sleep 0.01; done`)
		process, err := b.Start(p)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = process.Kill()
			if exit, err := process.Wait(); err != nil || exit.Code != 137 {
				t.Errorf("%+v, %v", exit, err)
			}
		}()
		waitFor(t, filepath.Join(p.Workspace, "ready"))
		stopped := func() (n, of int) {
			for _, pid := range proctree.Descendants(process.cmd.Process.Pid) {
				switch processState(pid) {
				case 0, 'Z': // it has ended; its parent, which is stopped, has not seen it yet
				case 'T', 'D': // a shell waits in the kernel for a child that was stopped before it became the command (vfork(2))
					n++
					of++
				default:
					of++
				}
			}
			return n, of
		}
		until(t, "one has stopped itself", func() bool { n, _ := stopped(); return n == 1 })
		resume := process.Pause()
		until(t, "all have stopped", func() bool { n, of := stopped(); return n == of && of > 4 })
		resume()
		until(t, "the others go on", func() bool { n, _ := stopped(); return n == 1 })
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

// mountImage mounts a fresh file system of so many bytes, or says why that cannot be.
func mountImage(t *testing.T, bytes int64, mkfs []string, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts file systems")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Truncate(bytes)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{append(mkfs, image), {"mount", "-o", "loop," + options, image, at}} {
		path, err := exec.LookPath(command[0])
		if err != nil {
			t.Skipf("%s is not installed", command[0])
		}
		if out, err := exec.Command(path, command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s; a loop device is needed, and a kernel that has such file systems", command, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// TestQuota has the kernel hold workspaces, on each file system with project quotas that it has.
func TestQuota(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-O", "quota,project"},
		"xfs":  {"mkfs.xfs", "-q"},
	} {
		t.Run(name, func(t *testing.T) {
			work := mountImage(t, 320<<20, mkfs, "prjquota")
			s, err := Open(t.Context(), Config{levels: []Level{Namespaces}, WorkDir: work, ReadPaths: pythonFolders(t)})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(s.Describe(), "workspace by quota") {
				t.Fatalf("%s has no quota: %s", name, s.Describe())
			}
			defer s.quota.dir.Close()
			testQuota(t, &box{s, t}, work)
		})
	}
}

func testQuota(t *testing.T, b *box, work string) {
	const bytes, files = 32 << 20, 50
	confined := func(name string) Program {
		root := filepath.Join(work, name)
		if err := b.Confine(root, bytes, files); err != nil {
			t.Fatal(err)
		}
		if got := b.WorkspaceLimit(root, bytes, files); got != "quota: 33554432 bytes, 50 files" {
			t.Errorf("it is held by %q", got)
		}
		p := b.program("")
		p.Workspace, p.Tmp = filepath.Join(root, "files"), filepath.Join(root, "tmp")
		for _, dir := range []string{p.Workspace, p.Tmp} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := b.Prepare(dir); err != nil {
				t.Fatal(err)
			}
		}
		p.WorkspaceBytes, p.WorkspaceFiles = bytes, files
		return p
	}
	shell := func(p Program, command string) (Exit, string) {
		p.Args = []string{"-c", command}
		return b.run(p)
	}
	for name, command := range map[string]string{
		"bytes":              "head -c 40000000 /dev/zero > f || echo refused",
		"both folders":       "head -c 20000000 /dev/zero > f; head -c 20000000 /dev/zero > /tmp/f || echo refused",
		"reserved":           "fallocate -l 40000000 f || echo refused",
		"files":              "for i in $(seq 60); do touch $i || { echo refused; break; }; done",
		"after leaving it":   "chattr -p 0 . ; head -c 40000000 /dev/zero > f || echo refused",
		"what is left again": "head -c 30000000 /dev/zero > f; rm f; head -c 30000000 /dev/zero > f && echo refused nothing",
	} {
		if exit, out := shell(confined(strings.ReplaceAll(name, " ", "-")), command); exit.Reason != "" ||
			!strings.Contains(out, "refused") {
			t.Errorf("%s: %+v: %s", name, exit, out)
		}
	}
	for name, h := range hoards {
		process := b.hoard(h.python, confined("hoard-"+strings.ReplaceAll(name, " ", "-")))
		if got := process.Usage(t.Context()); got.Bytes < 16_000_000 || got.Bytes > 17_000_000 || got.Uncounted {
			t.Errorf("%s: %+v, want 16 million bytes and a little", name, got)
		}
	}
}
