package hostile

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

// takeAll is a program that takes more memory than its limit. It prints GOT when it has the memory,
// and KEPT if it is still alive later.
const takeAll = `import ctypes, mmap, os, socket, sys, time, array
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.shmat.restype = ctypes.c_void_p
M = 1 << 20
held = []
def refused(r):
    if r is None or r < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r
def fill(f, n):
    for _ in range(n): os.write(f, b"x" * M)
try:
    SOURCE
except (OSError, MemoryError, OverflowError) as e:
    print("REFUSED", e, flush=True)
    sys.exit(0)
print("GOT", flush=True)
time.sleep(3)
print("KEPT", flush=True)
`

// memoryKinds are ways to 320 MiB with memory=64Mi.
func memoryKinds() map[string]string {
	return map[string]string{
		"anonymous":         "held.append(bytearray(os.urandom(M) * 320))",
		"anonymous, shared": "m = mmap.mmap(-1, 320*M); [m.write(b'x' * M) for _ in range(320)]; held.append(m)",
		"memfd":             "f = os.memfd_create('x'); fill(f, 320)",
		"memfd, many":       "fs = [os.memfd_create(str(i)) for i in range(40)]; [fill(f, 8) for f in fs]",
		"memfd, over sockets": `a, b = socket.socketpair()
    for i in range(40):
        f = os.memfd_create(str(i)); fill(f, 8); socket.send_fds(a, [b'x'], [f]); os.close(f)`,
		"memfd, deleted map": "f = os.memfd_create('x'); os.ftruncate(f, 320*M); m = mmap.mmap(f, 320*M); [m.write(b'x' * " +
			"M) for _ in range(320)]; m.close()",
		"SysV": "i = refused(libc.shmget(0, 320*M, 0o1600)); p = refused(libc.shmat(i, None, 0)); ctypes.memset(p, 1, 320*M)",
		"SysV, detached": `for _ in range(10):
        i = refused(libc.shmget(0, 32*M, 0o1600)); p = refused(libc.shmat(i, None, 0)); ctypes.memset(p, 1, 32*M); libc.shmdt(ctypes.c_void_p(p))`,
		"files in /dev/shm": `for i in range(320):
        f = os.open('/dev/shm/%d' % i, os.O_CREAT | os.O_RDWR); fill(f, 1); os.close(f)`,
		"names in /dev/shm": "for i in range(250000): os.close(os.open('/dev/shm/%d' % i, os.O_CREAT | os.O_RDWR))",
		"deleted in /dev/shm": `for i in range(320):
        f = os.open('/dev/shm/x', os.O_CREAT | os.O_RDWR); fill(f, 1); os.unlink('/dev/shm/x'); held.append(f)`,
		"socket buffers": `n = 0
    while n < 320*M:
        a, b = socket.socketpair(); a.setblocking(False); held += [a, b]
        try:
            while True: n += a.send(b'x' * 4096)
        except BlockingIOError: pass`,
		"pipes": `import fcntl
    for _ in range(330):
        r, w = os.pipe(); fcntl.fcntl(w, 1031, M); os.write(w, b'x' * M)`,
		"page tables": `p = refused(libc.mmap(ctypes.c_void_p(0), ctypes.c_size_t(320*M*512), 1, 0x4022, -1, ctypes.c_long(0)))
    for i in range(320*256): ctypes.string_at(p + i*2*M, 1)`,
		"stacks of threads": `import threading
    threading.stack_size(64*M)
    def eat():
        b = (ctypes.c_char * (8*M))(); ctypes.memset(b, 1, 8*M); held.append(b); time.sleep(9)
    for _ in range(40): threading.Thread(target=eat, daemon=True).start()
    time.sleep(1)`,
		"many processes": `for _ in range(20):
        if os.fork() == 0: held.append(bytearray(os.urandom(M) * 16)); time.sleep(9); os._exit(0)`,
		"orphans": `for _ in range(20):
        if os.fork() == 0:
            if os.fork(): os._exit(0)
            os.setsid(); held.append(bytearray(os.urandom(M) * 16)); time.sleep(9); os._exit(0)`,
		"locked": "m = mmap.mmap(-1, 320*M); libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m))), " +
			"ctypes.c_size_t(320*M)); [m.write(b'x' * M) for _ in range(320)]",
		"message queues": `for i in range(3200):
        q = refused(libc.msgget(0, 0o1600))
        for _ in range(2): refused(libc.msgsnd(q, b'\1' + bytes(8000), 8000, 0o4000))`,
	}
}

// exhaustion has programs use up a resource. They are ended, or their calls fail. Other jobs and
// the server are not harmed.
func (s *suite) exhaustion(t *testing.T) {
	srv := s.launch(t, s.all, folder(t), "AUTH=open", "KILL_GRACE=200ms", "REAP_INTERVAL=1h", "MAX_CONCURRENT_JOBS=10",
		"MAX_WORKSPACE_BYTES=64Mi", "MAX_WORKSPACE_FILES=2000",
		"MAX_OUTPUT_BYTES=16Mi", "MAX_LOG_BYTES=16Mi", "MAX_OUTPUT_FILES=50", "MAX_PROCESSES=64")
	s.run(t, "exhaustion", srv, memoryBound, func(g *group) {
		type started struct {
			name string
			j    *begun
		}
		var kinds []started
		for name, source := range memoryKinds() {
			g.s.count(g.name, 1)
			kinds = append(kinds, started{name, g.server.begin(g.T,
				python(strings.ReplaceAll(takeAll, "SOURCE", source), text("memory", "64Mi"), text("timeoutSeconds", "40"))...)})
		}
		g.try("a pool of processes that share what they have", func(fail func(string, ...any)) { pool(g, fail) })
		for _, one := range kinds {
			got, log := one.j.wait(g.T), one.j.logs(g.T, "tail=5")
			if got.Reason != job.ReasonOOMKilled && !strings.Contains(log, "REFUSED") {
				g.Errorf("%s: %s: %s (%s: %s): %.500s", g.name, one.name, got.Phase, got.Reason, got.Message, log)
			}
		}
		disk(g)
		others(g)
		if left := g.server.leftovers(); !within(20*time.Second,
			func() bool { left = g.server.leftovers(); return len(left) == 0 }) {
			g.Errorf("%s: workspaces are left: %v", g.name, left)
		}
	})
}

// pool counts what is shared once: six processes with 150 MiB between them fit into 512Mi.
func pool(g *group, fail func(string, ...any)) {
	j := g.server.begin(g.T, python(`import os, time
data = os.urandom(1 << 20) * 150
kids = []
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        n = sum(data[i] for i in range(0, len(data), 4096))
        time.sleep(1)
        os._exit(0)
    kids.append(pid)
for pid in kids: os.waitpid(pid, 0)
print("done")
`, text("memory", "512Mi"))...)
	if got := j.wait(g.T); got.Phase != job.Succeeded {
		fail("%s (%s: %s)", got.Phase, got.Reason, got.Message)
	}
}

// disk are programs that fill the workspace.
func disk(g *group) {
	const pause = "\nimport time\ntime.sleep(40)\n"
	ended := map[string]string{
		"one large file": `f = open('big', 'wb')
for _ in range(100): f.write(b'x' * (1 << 20))`,
		"many large files": "for i in range(12): open('big%d' % i, 'wb').write(b'x' * (8 << 20))",
		"in the temporary folder": `import os
for i in range(12): open(os.environ['TMPDIR'] + '/big%d' % i, 'wb').write(b'x' * (8 << 20))`,
		"files without a name": `import os
held = []
for i in range(12):
    f = open('x', 'wb'); f.write(b'x' * (8 << 20)); os.unlink('x'); held.append(f)`,
		"O_TMPFILE": `import os
held = []
for i in range(12):
    f = os.open('.', os.O_TMPFILE | os.O_RDWR); os.write(f, b'x' * (8 << 20)); held.append(f)`,
		"sent over a socket": `import os, socket
a, b = socket.socketpair()
for i in range(12):
    f = os.open('x', os.O_CREAT | os.O_RDWR); os.write(f, b'x' * (8 << 20)); os.unlink('x'); socket.send_fds(a, [b'x'], [f]); os.close(f)`,
		"room without writing": `import os
for i in range(12):
    f = os.open('x%d' % i, os.O_CREAT | os.O_RDWR); os.posix_fallocate(f, 0, 8 << 20)`,
		"many files":   "for i in range(5000): open('f%d' % i, 'w')",
		"many folders": "import os\nfor i in range(5000): os.mkdir('d%d' % i)",
		"many links": `import os
for i in range(5000): os.symlink('x', 'l%d' % i)`,
		"many hard links": `import os
open('x', 'w')
for i in range(5000): os.link('x', 'h%d' % i)`,
		"files in many folders": `import os
for i in range(60):
    os.mkdir('d%d' % i)
    for k in range(60): open('d%d/%d' % (i, k), 'w')`,
		"long names": "for i in range(5000): open('%0240d' % i, 'w')",
		"a log without end": `import sys
for _ in range(300): sys.stdout.write('x' * (1 << 20))`,
		"a log of empty lines": `import sys
for _ in range(120): sys.stdout.write('\n' * (1 << 20))`,
		"an error log without end": `import sys
for _ in range(300): sys.stderr.write('x' * (1 << 20))`,
		"in folders without permission": `import os
for i in range(12):
    os.mkdir('d%d' % i); open('d%d/x' % i, 'wb').write(b'x' * (8 << 20)); os.chmod('d%d' % i, 0)`,
	}
	type started struct {
		name string
		j    *begun
	}
	var jobs []started
	for name, source := range ended {
		g.s.count(g.name, 1)
		jobs = append(jobs, started{name, g.server.begin(g.T, python(source+pause)...)})
	}
	for _, one := range jobs {
		got := one.j.wait(g.T)
		limited := got.Reason == job.ReasonEvicted || got.Reason == job.ReasonError && strings.Contains(one.j.logs(g.T,
			"tail=5&stream=stderr"), "Error")
		if log := strings.HasPrefix(one.name, "a log") || strings.HasPrefix(one.name,
			"an error log"); log && got.Outputs != nil && got.Outputs.Bytes > 40<<20 {
			g.Errorf("%s: %s: %d bytes of log are kept", g.name, one.name, got.Outputs.Bytes)
		} else if !limited && !log {
			g.Errorf("%s: %s: %s (%s: %s): %.300s", g.name, one.name, got.Phase, got.Reason, got.Message,
				one.j.logs(g.T, "tail=5"))
		}
	}
	// Within the workspace's limits, beyond what is stored.
	tries(g, map[string]string{
		"a sparse output": "f = open('results/sparse', 'wb')\nf.truncate(1 << 40)\n",
		"many outputs":    "for i in range(200): open('results/%d' % i, 'w').write('x')\n",
		"a large output":  "open('results/big', 'wb').write(b'x' * (17 << 20))\n",
	}, func(source string, fail func(string, ...any)) {
		got := g.server.begin(g.T, python(source)...).wait(g.T)
		if got.Outputs == nil || got.Outputs.Bytes > 17<<20 || got.Outputs.Count > 52 || got.Phase == job.Succeeded &&
			got.Outputs.OmittedCount == 0 {
			fail("%s (%s): outputs %+v", got.Phase, got.Reason, got.Outputs)
		}
	})
}

// others are what a program can have too many of besides memory and disk.
func others(g *group) {
	tries(g, map[string]string{
		"processes": `import os, time
n = 0
try:
    while n < 5000:
        if os.fork() == 0: time.sleep(9); os._exit(0)
        n += 1
except OSError: pass
print('bounded' if n <= 64 else 'GOT %d' % n)
`,
		"threads": `import threading, time
n = 0
try:
    while n < 5000:
        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
        n += 1
except RuntimeError: pass
print('bounded' if n <= 64 else 'GOT %d' % n, flush=True)
import os; os._exit(0)
`,
		"open files": `import os
n = 0
try:
    while n < 100000: os.dup(0); n += 1
except OSError: pass
print('bounded' if n <= 16384 else 'GOT %d' % n)
`,
		"signals to itself": `import os, signal
os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None
os.kill(0, signal.SIGCONT)
print('bounded')
`,
		"timers": `import ctypes
l = ctypes.CDLL(None)
t = ctypes.c_void_p()
n = 0
while n < 200000 and l.timer_create(0, None, ctypes.byref(t)) == 0: n += 1
print('bounded' if n < 200000 else 'GOT')
`,
		"watches": `import ctypes
l = ctypes.CDLL(None)
n = 0
while n < 20000 and l.inotify_init() >= 0: n += 1
print('bounded' if n < 20000 else 'GOT')
`,
	}, func(source string, fail func(string, ...any)) {
		j := g.server.begin(g.T, python(source, text("timeoutSeconds", "30"))...)
		got := j.wait(g.T)
		if log := j.logs(g.T, "tail=all"); !strings.Contains(log, "bounded") {
			fail("%s (%s: %s): %.300s", got.Phase, got.Reason, got.Message, log)
		}
	})
	tries(g, map[string]string{
		"fork bomb":              ":(){ :|:& };:\nwait\nsleep 30\n",
		"one that will not stop": "trap '' TERM INT HUP\nwhile :; do sleep 0.1; done\n",
		"one that stops itself":  "kill -STOP $$\n",
		"its group stopped":      "kill -STOP 0\n",
		"orphans that stay":      "(setsid sh -c 'trap \"\" TERM; sleep 1000' &)\nsleep 1000\n",
		"endless loop":           "while :; do :; done\n",
	}, func(source string, fail func(string, ...any)) {
		mark := fmt.Sprintf("bomb-%d", time.Now().UnixNano())
		j := g.server.begin(g.T, script(source, text("timeoutSeconds", "2"), text("arg", mark))...)
		if got := j.wait(g.T); got.Reason != job.ReasonDeadlineExceeded && got.Reason != job.ReasonError {
			fail("%s (%s: %s)", got.Phase, got.Reason, got.Message)
		}
		if n := alive(mark); n > 0 {
			fail("%d of its processes live", n)
		}
	})
}

// alive is how many processes of this machine have a text in their command line.
func alive(mark string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return -1
	}
	n := 0
	for _, e := range entries {
		if line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && strings.Contains(string(line), mark) {
			n++
		}
	}
	return n
}
