//go:build linux

package sandbox

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hoarding begins each program that takes memory without end. take is called until it fails, which
// is as good.
const hoarding = `
import ctypes, fcntl, mmap, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
for f in (libc.mmap, libc.shmat):
    f.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.shmdt.argtypes = [ctypes.c_void_p]
kept = []

def check(result):
    if result in (-1, None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def call(number, *args):
    return check(libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args]))

def mapped(size, flags):
    return check(libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0))

def touch(at, size):
    for page in range(at, at + size, 4096):
        ctypes.memset(page, 1, 1)

def fill(s):
    s.setblocking(False)
    try:
        while True:
            s.send(b'x' * 65536)
    except BlockingIOError:
        pass

def hoard(take):
    try:
        while True:
            take()
    except OSError as e:
        print('refused:', e, flush=True)
    end()

def end():
    while True: # what is held is held until the watcher ends this, or the test
        signal.pause()

def each(n, take):
    for _ in range(n):
        if os.fork() == 0:
            take()
            end()
    end()
`

// ends are how a program may end that would take more memory than it may.
const (
	killed  = "OOMKilled"
	refused = "refused"
)

// memoryHoards take memory in every way known, each with how it ends in its own namespaces and
// under Landlock.
func memoryHoards() map[string]struct{ text, namespaces, landlock string } {
	return map[string]struct{ text, namespaces, landlock string }{
		"heap": {"hoard(lambda: kept.append(b'x' * (1 << 20)))", killed, killed},
		"shared": {"def take():\n    m = mmap.mmap(-1, 1 << 20); m.write(b'x' * (1 << 20)); kept.append(m)\nhoard(take)",
			killed, killed},
		"shared, out of the page tables": {
			"def take():\n    at = mapped(1 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS); touch(at, 1 << 20); " +
				"check(libc.madvise(at, 1 << 20, 4))\nhoard(take)", killed, killed},
		"memfd": {"def take():\n    f = os.memfd_create('x'); os.write(f, b'x' * (1 << 20))\nhoard(take)", refused,
			refused},
		"memfd_secret": {"call(447, 0)", refused, refused},
		"System V shared memory": {
			"def take():\n    i = check(libc.shmget(0, 1 << 20, 0o1600)); at = check(libc.shmat(i, None, 0)); touch(at, 1 << " +
				"20); check(libc.shmdt(at))\nhoard(take)", killed, refused},
		"System V segments, empty": {"hoard(lambda: check(libc.shmget(0, 4096, 0o1600)))", refused, refused},
		"System V semaphores":      {"hoard(lambda: check(libc.semget(0, 1000, 0o1600)))", refused, refused},
		"System V messages":        {"hoard(lambda: check(libc.msgget(0, 0o1600)))", refused, refused},
		"POSIX messages":           {"call(240, ctypes.c_char_p(b'x'), os.O_CREAT | os.O_RDWR, 0o600, 0)", refused, refused},
		"/dev/shm": {"n = 0\ndef take():\n    global n; n += 1\n    open('/dev/shm/' + str(n), " +
			"'wb').write(b'x' * (1 << 20))\nhoard(take)", killed, refused},
		"/dev/shm, no bytes": {"n = 0\ndef take():\n    global n; n += 1\n    open('/dev/shm/' + str(n), 'wb')\nhoard(take)",
			refused, refused},
		"unix sockets": {"def take():\n    a, b = socket.socketpair(); fill(a); fill(b); kept.extend((a, b))\neach(3, " +
			"lambda: hoard(take))", killed, killed},
		"unix sockets of senders that are gone": {
			"def take():\n    a, b = socket.socketpair()\n    fill(a); a.close(); kept.append(b)\neach(3, lambda: hoard(take))",
			killed, killed},
		"unix datagrams": {
			"def take():\n    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n    fill(a); a.close(); " +
				"kept.append(b)\neach(3, lambda: hoard(take))", killed, killed},
		"connections": {`
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(100)
def take():
    a = socket.create_connection(l.getsockname()); b = l.accept()[0]
    fill(a); fill(b); kept.extend((a, b))
hoard(take)`, killed, killed},
		"connections that nobody accepts": {`
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(1000)
def take():
    a = socket.socket(); a.settimeout(1); a.connect(l.getsockname()); fill(a); a.close()
hoard(take)`, killed, killed},
		"UDP": {`
def take():
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.bind(('127.0.0.1', 0))
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(300):
        a.sendto(b'x' * 1000, b.getsockname())
    kept.append(b)
hoard(take)`, killed, killed},
		"pipes": {"def take():\n    r, w = os.pipe(); os.set_blocking(w, False); " +
			"os.write(w, b'x' * 65536)\neach(4, lambda: hoard(take))", killed, killed},
		"large pipes":                         {"r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 20)", refused, refused},
		"large pipes, by a number of 64 bits": {"r, w = os.pipe(); call(72, w, 1 << 32 | 1031, 1 << 20)", refused, refused},
		"pages in pipes": {"r, w = os.pipe(); call(275, os.open('/etc/passwd', os.O_RDONLY), 0, w, " +
			"0, 4096, 0)", refused, refused},
		"page tables": {`
size = 1 << 40
at = check(libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0))
for place in range(at, at + size, 2 << 20):
    ctypes.string_at(place, 1)
end()`, killed, killed},
		"mappings": {`
def take():
    at = mapped(4096 * 60000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, 60000, 2):
        check(libc.mprotect(at + page * 4096, 4096, mmap.PROT_READ))
each(4, take)`, killed, killed},
		"many processes": {"def take():\n    kept.append(b'x' * (600 << 10))\neach(100, take)", killed, killed},
		"files": {"def take():\n    hoard(lambda: kept.append(os.open('/dev/null', os.O_RDONLY)))\neach(100, take)",
			killed, killed},
		"locks": {`
def take():
    for n in range(900):
        f = os.open('locked%d.%d' % (os.getpid(), n), os.O_CREAT | os.O_RDWR); kept.append(f)
        for i in range(0, 600, 2):
            fcntl.lockf(f, fcntl.LOCK_EX, 1, i)
each(4, take)`, killed, killed},
		"locks of open files": {"f = os.open('x', os.O_CREAT | os.O_RDWR); fcntl.fcntl(f, 37, struct.pack('hhqqi4x', 1, " +
			"0, 0, 1, 0))", refused, refused},
		"terminals": {"hoard(lambda: kept.extend(os.openpty()))", refused, refused},
		"inotify":   {"hoard(lambda: kept.append(check(libc.inotify_init())))", killed, killed},
		"locked memory": {"at = mapped(1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); call(149, at, 1 << 20)",
			refused, refused},
		"huge pages":         {"mapped(2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)", refused, refused},
		"rules of Landlock":  {"call(444, ctypes.c_char_p(bytes([255]) + bytes(7)), 8, 0)", refused, refused},
		"filters of seccomp": {"check(libc.prctl(22, 2, 0, 0, 0))", refused, refused},
		"AF_ALG":             {"socket.socket(38, socket.SOCK_SEQPACKET)", refused, refused},
		"AF_VSOCK":           {"socket.socket(40, socket.SOCK_STREAM)", refused, refused},
		"AF_PACKET":          {"socket.socket(17, socket.SOCK_DGRAM)", refused, refused},
		"AF_TIPC":            {"socket.socket(30, socket.SOCK_DGRAM)", refused, refused},
		"netlink":            {"socket.socket(16, socket.SOCK_RAW, 4)", refused, refused},
		"MPTCP":              {"socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)", refused, refused},
		"SCTP":               {"socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 132)", refused, refused},
		"a program that cannot be read": {`
import shutil
if len(sys.argv) == 1:
    shutil.copy(sys.executable, 'own'); os.chmod('own', 0o111)
    os.execv('own', ['own', 'x.py', 'again'])
hoard(lambda: kept.append(b'x' * (1 << 20)))`, killed, killed},
		"sockets of a program that cannot be looked into": {
			"libc.prctl(4, 0, 0, 0, 0)\ndef take():\n    a, b = socket.socketpair(); fill(a); fill(b); kept.extend((a, " +
				"b))\neach(3, lambda: hoard(take))", killed, killed},
	}
}

// TestHoards has programs take memory in every way, of which they may have 64 MiB.
func TestHoards(t *testing.T) {
	t.Parallel()
	for _, level := range []Level{Namespaces, Landlock} {
		t.Run(string(level), func(t *testing.T) {
			s, err := Open(t.Context(), Config{levels: []Level{level}})
			if err != nil {
				t.Fatal(err)
			}
			s.cgroup = nil // watched
			for _, name := range slices.Sorted(maps.Keys(memoryHoards())) {
				hoard := memoryHoards()[name]
				t.Run(name, func(t *testing.T) {
					want := map[Level]string{Namespaces: hoard.namespaces, Landlock: hoard.landlock}[level]
					(&box{s, t}).hoardMemory(hoarding+hoard.text, want)
				})
			}
		})
	}
}

// hoard runs a program until it is ended or has been refused.
func (b *box) hoardMemory(text, want string) {
	b.t.Helper()
	if want == refused {
		text = strings.ReplaceAll(text, "def end():\n", "def end():\n    sys.exit(1)\n")
	}
	p := b.python(text)
	p.MemoryBytes, p.Processes, p.OpenFiles = 64<<20, 200, 1024
	begin := time.Now()
	exit, out := b.run(p)
	switch {
	case want == killed && exit.Reason != OOMKilled:
		b.t.Errorf("%+v: %s", exit, out)
	case want == refused && (exit.Reason != "" || exit.Code != 1 || !strings.Contains(out, "Errno") &&
		!strings.Contains(out, "Error")):
		b.t.Errorf("%+v: %s", exit, out)
	}
	b.t.Logf("%s after %s: %.200s", exit.Reason, time.Since(begin).Round(time.Millisecond), lastLine(out))
}

func lastLine(s string) string {
	list := strings.Split(strings.TrimSpace(s), "\n")
	return list[len(list)-1]
}

// TestFrugal runs programs that have less memory than their limit, however much it looks like.
func TestFrugal(t *testing.T) {
	t.Parallel()
	const pool = `
%s
pids = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            sum(data[::4096])
            time.sleep(0.1)
        os._exit(0)
    pids.append(pid)
for pid in pids:
    assert os.waitpid(pid, 0)[1] == 0
print('done')
`
	tests := map[string]struct {
		text   string
		memory int64
	}{
		"a pool over pages of its parent": {fmt.Sprintf(pool, "data = bytearray(b'x') * (150 << 20)"), 512 << 20},
		"a pool over shared memory": {fmt.Sprintf(pool, "data = mmap.mmap(-1, 150 << 20)\nfor i in range(0, 150 << "+
			"20, 4096): data[i] = 1"), 512 << 20},
		"a large mapping with little in it": {
			"at = mapped(1 << 30, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS); touch(at, 1 << 20); time.sleep(1.5); print('done')",
			64 << 20},
		"sockets and pipes": {`
for _ in range(40):
    kept.extend(socket.socketpair()); kept.append(os.pipe())
time.sleep(1.5); print('done')`, 64 << 20},
	}
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		b.cgroup = nil
		for name, test := range tests {
			p := b.python(hoarding + test.text)
			p.MemoryBytes = test.memory
			if exit, out := b.run(p); exit.Code != 0 || exit.Reason != "" || !strings.Contains(out, "done") {
				t.Errorf("%s: %+v: %s", name, exit, out)
			}
		}
	})
}

// TestTerminalBytes counts a terminal once, however often it is open.
func TestTerminalBytes(t *testing.T) {
	t.Parallel()
	own := filepath.Join("/proc", strconv.Itoa(os.Getpid()))
	count := func() int {
		k := newKernelObjects(&meter{buffer: make([]byte, 64<<10)})
		if err := k.addFiles(own); err != nil {
			t.Fatal(err)
		}
		return len(k.terminals)
	}
	before := count()
	for range 3 {
		master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if err != nil {
			t.Skipf("this machine has no terminals: %v", err)
		}
		defer master.Close()
		again, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(again)
	}
	if got := count() - before; got != 3 {
		t.Errorf("%d terminals are counted, want 3", got)
	}
}
