package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
)

// call is something that a program must not succeed in: an expression of Python, in which an
// exception, or what is false, is a failure.
type call struct{ name, python string }

// prelude is what the expressions use. Each runs in a process of its own, so that one that succeeds
// changes nothing for the others.
const prelude = `import ctypes, errno, fcntl, glob, mmap, os, resource, signal, socket, stat, struct, sys, time
storage, server, other, mark = sys.argv[1:5]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def sys_(n, *a):
    r = libc.syscall(ctypes.c_long(n), *[x if isinstance(x, bytes) else ctypes.c_long(x) for x in a])
    if r < 0: raise OSError(ctypes.get_errno(), "call")
    return True
def read(p):
    with open(p, "rb") as f: return f.read(100) or b"read"
def write(p):
    with open(p, "wb") as f: f.write(b"x")
    return True
def victims():
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                if mark.encode() in read("/proc/%s/cmdline" % pid) and pid != str(os.getpid()) and pid != str(os.getppid()): found.append(int(pid))
            except OSError: pass
    return found
def capability():
    for line in open("/proc/self/status"):
        n, _, v = line.partition(":")
        if n in ("CapEff", "CapPrm", "CapInh", "CapAmb") and int(v, 16): return line
def attempt(name, f):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try: got = f()
        except BaseException as e: got = None
        if got: os.write(w, repr(got)[:300].encode())
        os._exit(0)
    os.close(w)
    got = os.read(r, 400)
    os.close(r)
    os.waitpid(pid, 0)
    print("SUCCESS" if got else "DENIED", "<" + name + ">", got.decode(), flush=True)
`

func calls() []call {
	var list []call
	add := func(name, python string) { list = append(list, call{name, python}) }
	// Numbers are those of amd64.
	for name, number := range map[string]string{
		"ptrace traceme": "101, 0, 0, 0, 0", "ptrace attach": "101, 16, int(server), 0, 0",
		"ptrace seize": "101, 0x4206, os.getppid(), 0, 0", "unshare user": "272, 0x10000000",
		"unshare mount": "272, 0x20000", "unshare net": "272, 0x40000000", "unshare pid": "272, 0x20000000",
		"unshare all": "272, 0x7e020000", "unshare time": "272, 0x80",
		"setns": "308, os.open('/proc/self/ns/mnt', 0), 0", "mount tmpfs": "165, b'none', b'/tmp', b'tmpfs', 0, 0",
		"mount proc": "165, b'proc', b'/tmp', b'proc', 0, 0",
		"remount":    "165, b'none', b'/', b'none', 32, 0", "bind": "165, b'/proc/1/root', b'/tmp', b'none', 4096, 0",
		"umount": "166, b'/workspace', 2", "pivot_root": "155, b'/tmp', b'/tmp'",
		"chroot": "161, b'/tmp'", "fsopen": "430, b'tmpfs', 0", "fsmount": "432, 0, 0, 0",
		"open_tree": "428, -100, b'/', 1", "move_mount": "429, -100, b'/tmp', -100, b'/', 0",
		"mount_setattr": "442, -100, b'/', 0, bytes(32), 32", "keyctl": "250, 0, -3, 0",
		"add_key": "248, b'user', b'a', b'b', 1, -3", "request_key": "249, b'user', b'a', 0, 0",
		"bpf": "321, 0, bytes(72), 72", "perf": "298, bytes(120), 0, -1, -1, 0", "io_uring_setup": "425, 1, bytes(120)",
		"io_uring_enter": "426, 0, 1, 0, 0, 0", "io_uring_register": "427, 0, 0, 0, 0",
		"userfaultfd": "323, 0", "process_vm_readv": "310, os.getppid(), 0, 0, 0, 0, 0",
		"process_vm_writev": "311, os.getppid(), 0, 0, 0, 0, 0", "pidfd_getfd": "438, 0, 0, 0",
		"pidfd_open of init": "434, 999999, 0", "kcmp": "312, os.getpid(), os.getppid(), 0, 0, 0",
		"process_madvise": "440, 0, 0, 0, 0, 0", "kexec_load": "246, 0, 0, 0, 0",
		"init_module": "175, 0, 0, b''", "finit_module": "313, 0, b'', 0", "delete_module": "176, b'x', 0",
		"reboot": "169, 0xfee1dead, 672274793, 0, 0", "swapon": "167, b'/tmp/x', 0",
		"acct": "163, 0", "syslog": "103, 3, bytes(100), 100", "settimeofday": "164, bytes(16), 0",
		"clock_settime": "227, 0, bytes(16)", "adjtimex": "159, b'\\x01' + bytes(300)",
		"sethostname": "170, b'x', 1", "iopl": "172, 3", "ioperm": "173, 0, 1, 1",
		"quotactl": "179, 0x80000700, b'/', 0, 0", "open_by_handle_at": "304, -100, bytes(64), 0",
		"lookup_dcookie": "212, 0, 0, 0", "clone into user namespace": "56, 0x10000011, 0, 0, 0, 0",
		"clone into mount namespace": "56, 0x20011, 0, 0, 0, 0", "clone3": "435, bytes(88), 88",
		"setuid 0": "105, 0", "setreuid": "113, 0, 0", "setresuid": "117, 0, 0, 0", "setgid 0": "106, 0",
		"setgroups": "116, 1, bytes(4)",
		"capset":    "126, b'\\x22\\x05\\x08\\x20' + bytes(4), b'\\xff' * 24", "no_new_privs off": "157, 38, 0, 0, 0, 0",
		"seccomp off": "157, 22, 0, 0, 0, 0", "dumpable of the parent": "101, 2, os.getppid(), 0, 0",
		"memfd_secret": "447, 0", "vhangup": "153", "fanotify": "300, 0, 0", "nice of others": "141, 0, int(server), 5",
		"limits of others":     "302, int(server), 7, 0, bytes(16)",
		"signal to the server": "62, int(server), 0", "stop the server": "62, int(server), 19",
		"tgkill the server":      "234, int(server), int(server), 0",
		"affinity of the server": "203, int(server), 8, b'\\x01' + bytes(7)",
		"migrate_pages":          "256, int(server), 8, bytes(8), bytes(8)", "x32 getpid": "0x40000000 + 39",
	} {
		add(name, "sys_("+number+")")
	}
	for _, path := range []string{
		"storage", "storage + '/.local/token.key'", "storage + '/.local/keys.json'", "storage + '/.local/work'", "'/etc/shadow'", "'/home'",
		"'/var/log'", "'/boot'", "'/sys/kernel'", "'/run'", "'/srv'", "'/mnt'", "'/dev/mem'",
		"'/dev/kmsg'", "'/dev/sda'", "'/dev/fuse'", "'/dev/kvm'", "'/dev/loop-control'", "'/proc/kcore'", "'/proc/kmsg'",
		"'/proc/sysrq-trigger'", "'/var/run/docker.sock'", "'/etc/gshadow'", "'/etc/ssh'",
	} {
		add("read "+path, "os.listdir("+path+") if os.path.isdir("+path+") else read("+path+")")
	}
	for _, name := range []string{"environ", "mem", "maps", "fd", "root", "cwd", "exe", "auxv", "stack", "syscall", "io",
		"cmdline"} {
		for _, pid := range []string{"server", "'1'", "other"} {
			if name == "cmdline" && pid != "server" {
				continue
			}
			path := "'/proc/%s/" + name + "' % (" + pid + ")"
			add(fmt.Sprintf("/proc/%.8s/%s", pid, name), "os.listdir("+path+") if os.path.isdir("+path+") else read("+path+")")
		}
	}
	for _, dir := range []string{"/", "/usr", "/usr/bin", "/etc", "/opt", "/proc/sys/kernel", "/sys", "/dev", "/lib",
		"/var", "/root", "/workspace/..", "/proc/1", "/run", "/dev/pts", "/sys/devices/system/cpu"} {
		add("write to "+dir, "write('"+dir+"/hostile')")
	}
	for _, kind := range []string{"stat.S_IFCHR", "stat.S_IFBLK"} {
		for _, device := range []string{"os.makedev(1, 1)", "os.makedev(8, 0)", "os.makedev(10, 200)"} {
			add("device "+kind+device, "os.mknod('/tmp/dev%d' % os.getpid(), 0o666 | "+kind+", "+device+") is None")
		}
	}
	for name, python := range map[string]string{
		"raw socket":                 "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
		"raw IPv6 socket":            "socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)",
		"packet socket":              "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
		"ICMP":                       "socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)",
		"low port":                   "socket.socket().bind(('127.0.0.1', 81)) is None",
		"signal to another job":      "[os.kill(p, 0) for p in victims()]",
		"environment of another job": "[read('/proc/%d/environ' % p) for p in victims()]",
		"files of another job":       "[os.listdir('/proc/%d/cwd' % p) for p in victims()]",
		"pid of another job":         "victims()", "capabilities": "capability()",
		"be root": "os.getuid() == 0 or os.geteuid() == 0", "group root": "0 in os.getgroups()",
		"setuid file": "[os.chmod('/tmp/su', 0o4755) for _ in [write('/tmp/su')]] and " +
			"os.stat('/tmp/su').st_uid == 0",
		"sudo":                     "os.system('sudo -n true 2>/dev/null') == 0",
		"su":                       "os.system('su -c true </dev/null >/dev/null 2>&1') == 0",
		"secret of the server":     "'SECRET_OF_SERVER' in open('/proc/1/environ').read()",
		"secret in my environment": "[n for n in os.environ if 'SECRET' in n or 'TOKEN' in n or 'STORAGE' in n]",
		"link to the host": "[os.symlink(storage, '/tmp/l%d' % os.getpid())] and os.listdir('/tmp/l%d' % " +
			"os.getpid())",
		"hard link to the system": "os.link('/etc/passwd', '/workspace/p%d' % os.getpid()) is None",
		"home of root":            "[n for n in os.listdir('/root') if n != '.pyenv']",
		"host path in maps":       "storage in open('/proc/self/maps').read()",
		"host path in fds": "[t for t in map(os.readlink, filter(os.path.lexists, glob.glob('/proc/self/fd/*'))) " +
			"if storage in t or '.local' in t or t.startswith('/tmp/')]",
		"files of the server": "[f for f in os.listdir('/proc/self/fd') if int(f) > 2 and " +
			"os.path.lexists('/proc/self/fd/' + f) and not os.readlink('/proc/self/fd/' + f).startswith(('pipe:', '/proc/'))]",
		"truncate the log": "os.ftruncate(1, 0) is None", "enlarge the log": "os.ftruncate(1, 1 << 30) is None",
		"seek in the log": "os.lseek(1, 0, 0) == 0", "read the log": "os.pread(1, 10, 0) or True",
		"a log that is a file":          "stat.S_ISREG(os.fstat(1).st_mode) or stat.S_ISREG(os.fstat(2).st_mode)",
		"reopen the log to truncate it": "(os.truncate('/proc/self/fd/1', 0)) is None",
		"more open files":               "resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20)) is None",
		"more processes":                "resource.setrlimit(resource.RLIMIT_NPROC, (99999, 99999)) is None",
		"core dumps":                    "resource.setrlimit(resource.RLIMIT_CORE, (1, 1)) is None",
		"real time":                     "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)) is None",
		"negative nice":                 "os.nice(-5) < 0 or None",
		"type into a terminal":          "fcntl.ioctl(0, 0x5412, b'x') is None",
		"terminals of others":           "[n for n in os.listdir('/dev/pts') if n != 'ptmx']",
		"more terminals than allowed":   "[os.openpty() for _ in range(65)]",
		"line discipline":               "fcntl.ioctl(os.openpty()[1], 0x5423, struct.pack('i', 2)) is not None",
		"type into its own terminal":    "fcntl.ioctl(os.openpty()[1], 0x5412, b'x') is not None",
		"turn off a processor":          "write('/sys/devices/system/cpu/cpu0/online')",
		"another user's name":           "write('/etc/passwd')",
		"another host's name":           "[os.rename('/workspace/h', '/etc/hosts') for _ in [write('/workspace/h')]]",
		"locked memory":                 "libc.mlockall(3) == 0 and resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] > 1 << 30",
		"core pattern":                  "write('/proc/sys/kernel/core_pattern')",
		"oom score": "[open('/proc/self/oom_score_adj', 'w').write('-900')] and " +
			"open('/proc/self/oom_score_adj').read().startswith('-9')",
		"uid_map":                   "open('/proc/self/uid_map', 'w').write('0 0 1')",
		"cgroup":                    "[write(p + '/cgroup.procs') for p in glob.glob('/sys/fs/cgroup*')]",
		"abstract socket of others": "[l for l in open('/proc/net/unix') if storage in l]",
		"shared memory of others":   "len(open('/proc/sysvipc/shm').readlines()) > 1",
	} {
		add(name, python)
	}
	return list
}

// sandbox runs all of it in programs, of a server of root and, where the tests are run by root, of
// an ordinary user's.
func (s *suite) sandbox(t *testing.T) {
	srv := s.launch(t, s.all, folder(t), "KILL_GRACE=500ms", "REAP_INTERVAL=1h", "MAX_CONCURRENT_JOBS=4")
	s.run(t, "sandbox calls", srv, memoryBound, func(g *group) {
		if text := srv.output.String(); !strings.Contains(text, "namespaces+landlock") {
			t.Logf("the sandbox is weaker here than the one these calls are about: %.400s", text)
		}
		const mark = "victim-of-the-hostile"
		victim := g.server.begin(g.T, script("echo begun; exec sleep 1000\n", text("arg", mark),
			text("env", `{"SECRET":"s"}`))...)
		defer victim.cancel(g.T)
		victim.says(g.T, "begun")
		attack(g, mark)
		pipes(g)
		renames(g)
		if got := victim.status(g.T); got.Phase != job.Running {
			g.Errorf("the other job is %s (%s)", got.Phase, got.Reason)
		}
	})
}

func attack(g *group, mark string) {
	var source strings.Builder
	source.WriteString(prelude)
	list := calls()
	for _, c := range list {
		fmt.Fprintf(&source, "attempt(%q, lambda: %s)\n", c.name, c.python)
	}
	g.s.count(g.name, len(list))
	j := g.server.begin(g.T, python(source.String(), text("arg", g.server.dir),
		text("arg", strconv.Itoa(g.server.cmd.Process.Pid)), text("arg", strconv.Itoa(os.Getpid())), text("arg", mark))...)
	got := j.wait(g.T)
	log := j.logs(g.T, "tail=all")
	if got.Phase != job.Succeeded {
		g.Errorf("the attack is %s (%s: %s): %.2000s", got.Phase, got.Reason, got.Message, log)
	}
	for _, c := range list {
		line := regexp.MustCompile(`(?m)^(SUCCESS|DENIED) <` + regexp.QuoteMeta(c.name) + `>.*$`).FindString(log)
		if !strings.HasPrefix(line, "DENIED") {
			g.Errorf("%s: %s: %q", g.name, c.name, line)
		}
	}
}

// pipes: a program's streams are pipes, of which nothing can be taken back.
func pipes(g *group) {
	for name, test := range map[string]struct {
		source string
		lines  int
	}{
		"stdout opened anew":         {"seq 1000\necho note > /dev/stdout\n", 1001},
		"stderr opened anew":         {"seq 1000\necho note > /dev/stderr\n", 1001},
		"its descriptor opened anew": {"seq 1000\necho note > /proc/self/fd/1\n", 1001},
		"truncated by name":          {"seq 1000\n: > results/stdout.log\necho end\n", 1001},
		"removed by name":            {"seq 1000\nrm -f results/stdout.log results/stderr.log\necho end\n", 1001},
		"replaced by a link": {"seq 1000\nrm -f results/stdout.log\nln -s /etc/passwd results/stdout.log\necho " +
			"end\n", 1001},
		"replaced by a folder": {"seq 1000\nrm -f results/stdout.log\nmkdir results/stdout.log\necho end\n", 1001},
		"results gone":         {"seq 1000\nrm -rf results\necho end\n", 1001},
		"results replaced by a folder": {"seq 1000\nmv results elsewhere\nmkdir results\necho x > " +
			"results/stdout.log\necho end\n", 1001},
	} {
		g.try(name, func(fail func(string, ...any)) {
			j := g.server.begin(g.T, script(test.source)...)
			j.wait(g.T)
			if got := strings.Count(j.logs(g.T, "tail=all"), "\n"); got != test.lines {
				fail("the log has %d lines, want %d", got, test.lines)
			}
		})
	}
}

// renames are what every program may do within its workspace.
func renames(g *group) {
	for name, source := range map[string]string{
		"rename between folders": "mkdir a b && echo x > a/f && mv a/f b/f && cat b/f",
		"rename into results":    "echo x > f && mv f results/f && cat results/f",
		"link between folders":   "mkdir a b && echo x > a/f && ln a/f b/f && cat b/f",
		"rename of a folder":     "mkdir -p a/c b && echo x > a/c/f && mv a/c b/c && cat b/c/f",
		"rename by the call alone": "mkdir a b && echo x > a/f && python3 -c 'import os; os.rename(\"a/f\", \"b/f\")' " +
			"&& cat b/f",
		"exchange, through temporary": "echo x > $TMPDIR/f && cp $TMPDIR/f results/f && cat results/f",
	} {
		g.try(name, func(fail func(string, ...any)) {
			j := g.server.begin(g.T, script(source+"\n")...)
			if got := j.wait(g.T); got.Phase != job.Succeeded {
				fail("%s (%s): %.300s", got.Phase, got.Message, j.logs(g.T, "tail=all"))
			}
		})
	}
}

// leftovers lists what is left of workspaces, also of those that are only waiting to be removed.
func (srv *server) leftovers() []string {
	work := filepath.Join(srv.dir, ".local", "work")
	found, _ := filepath.Glob(filepath.Join(work, "*"))
	removing, _ := filepath.Glob(filepath.Join(work, "trash", "*"))
	return slices.DeleteFunc(append(found, removing...), func(path string) bool {
		return path == filepath.Join(work, "lock") || path == filepath.Join(work, "trash")
	})
}
