//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
)

const patience = time.Minute

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		server(os.Args[2], Level(os.Args[3]))
	}
	os.Exit(m.Run())
}

// server is a process that starts a program and then is there until it is killed.
func server(dir string, level Level) {
	s, err := Open(context.Background(), Config{levels: []Level{level}})
	if err != nil {
		panic(err)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		panic(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		panic(err)
	}
	_, err = s.Start(Program{Path: "/bin/sh", Args: []string{"-c", "setsid sleep 1000 & echo > begun; trap '' TERM; " +
		"while :; do sleep 1; done", os.Args[4]},
		Workspace: dir, Tmp: dir, Lock: lock, Env: []string{"PATH=/usr/bin:/bin"}})
	if err != nil {
		panic(err)
	}
	lock.Close()
	select {}
}

// box is a sandbox under test.
type box struct {
	*Sandbox
	t *testing.T
}

// eachLevel runs a test at every level that this machine can reach.
func eachLevel(t *testing.T, c Config, test func(t *testing.T, b *box)) {
	for _, level := range []Level{Namespaces, Landlock, None} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			c := c
			c.levels = []Level{level}
			s, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if s.Level() != level {
				t.Fatalf("level is %s", s.Level())
			}
			test(t, &box{s, t})
		})
	}
}

// program is a shell command in a fresh workspace.
func (b *box) program(command string) Program {
	b.t.Helper()
	p := Program{Path: "/bin/sh", Args: []string{"-c", command}, Env: []string{"PATH=/usr/bin:/bin"},
		Workspace: b.t.TempDir(), Tmp: b.t.TempDir()}
	for _, dir := range []string{p.Workspace, p.Tmp} {
		if err := b.Prepare(dir); err != nil {
			b.t.Fatal(err)
		}
	}
	return p
}

// run runs a program to its end.
func (b *box) run(p Program) (Exit, string) {
	b.t.Helper()
	p.Log = spooltest.Open(b.t, b.t.TempDir())
	process, err := b.Start(p)
	if err != nil {
		b.t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = process.Kill() })
	defer timer.Stop()
	exit, err := process.Wait()
	if err != nil {
		b.t.Fatal(err)
	}
	return exit, said(b.t, p.Log)
}

// said returns both streams in their order.
func said(t *testing.T, log spool.Files) string {
	t.Helper()
	all, err := io.ReadAll(log.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func TestExit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, command string
		code          int
		signal        syscall.Signal
	}{
		{"zero", "exit 0", 0, 0},
		{"three", "exit 3", 3, 0},
		{"255", "exit 255", 255, 0},
		{"killed", "kill -KILL $$", 137, syscall.SIGKILL},
		{"terminated", "kill -TERM $$", 143, syscall.SIGTERM},
		{"hung up", "kill -HUP $$", 129, syscall.SIGHUP},
		{"user signal", "kill -USR1 $$", 138, syscall.SIGUSR1},
		{"no core", "kill -SEGV $$", 139, syscall.SIGSEGV},
	}
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		for _, tt := range tests {
			if got, _ := b.run(b.program(tt.command)); got.Code != tt.code || got.Signal != tt.signal || got.Reason != "" {
				t.Errorf("%s: %+v", tt.name, got)
			}
		}
	})
}

// TestSignalled has a program send its init every signal that can be caught, where nothing keeps it
// from that.
func TestSignalled(t *testing.T) {
	t.Parallel()
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		for signal := 1; signal <= 64; signal++ {
			// the last are C libraries' own, which Go leaves alone
			if signal == int(unix.SIGKILL) || signal == int(unix.SIGSTOP) || signal >= 32 && signal <= 34 {
				continue
			}
			if got, out := b.run(b.program(fmt.Sprintf("kill -%d $PPID; exit 3", signal))); got.Code != 3 || got.Reason != "" {
				t.Errorf("signal %d: %+v: %s", signal, got, out)
			}
		}
	})
}

func TestCannotRun(t *testing.T) {
	t.Parallel()
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		for name, want := range map[string]string{"missing": "does not exist", "plain": "permission denied", "junk": "#!",
			"orphan": "interpreter"} {
			p := b.program("")
			for file, content := range map[string]string{"plain": "#!/bin/sh\n", "junk": "junk", "orphan": "#!/no/such\n"} {
				path := filepath.Join(p.Workspace, file)
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
				if file != "plain" {
					if err := os.Chmod(path, 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			dir, _ := b.Paths(p.Workspace, p.Tmp)
			p.Path, p.Args = filepath.Join(dir, name), nil
			if got, _ := b.run(p); got.Reason != CannotRun || !strings.Contains(got.Message, want) {
				t.Errorf("%s: %+v", name, got)
			}
		}
	})
}

// TestExact makes sure that arguments and variables arrive byte by byte.
func TestExact(t *testing.T) {
	t.Parallel()
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		p := b.program(`printf '[%s]' "$@" "$ODD"`)
		odd := []string{"", "a b", "new\nline", "$(X)", "`y`", "\xff\xfe", "--", "'\""}
		p.Args = append(append(p.Args, "sh"), odd...)
		p.Env = append(p.Env, "ODD=\x01\xff=\n")
		want := ""
		for _, s := range append(odd, "\x01\xff=\n") {
			want += "[" + s + "]"
		}
		if _, got := b.run(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if _, got := b.run(b.program("env; cat; ls /proc/self/fd")); !strings.HasPrefix(got, "PWD=") &&
			!strings.HasPrefix(got, "PATH=") || strings.Count(got, "\n") > 7 {
			t.Errorf("environment, standard input and files: %q", got)
		}
	})
}

// TestIsolation tries to get at what must be out of reach.
func TestIsolation(t *testing.T) {
	t.Parallel()
	secret := t.TempDir()
	if err := os.Chmod(secret, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := secret; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(secret, "secret")
	if err := os.WriteFile(file, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(os.Getpid())
	commands := map[string]string{
		"read a file":         "cat " + file,
		"list a folder":       "ls " + secret,
		"write a file":        "echo x > " + secret + "/x",
		"follow a link":       "ln -s " + file + " link && cat link",
		"climb":               "cat ../../../../../../../.." + file,
		"read shadow":         "cat /etc/shadow",
		"read environment":    "cat /proc/" + pid + "/environ",
		"list files":          "readlink /proc/" + pid + "/fd/1",
		"other root":          "ls /proc/" + pid + "/root/",
		"init's environment":  "cat /proc/$PPID/environ",
		"init's root":         "ls /proc/$PPID/root/",
		"init's files":        "readlink /proc/$PPID/fd/3",
		"signal server":       "kill -0 " + pid,
		"signal init":         "kill -9 $PPID",
		"new user namespace":  "unshare -U true",
		"new mount namespace": "unshare -m true",
		"mount":               "mount -t tmpfs none /tmp",
		"write to /usr":       "echo > /usr/x",
		"write to /etc":       "echo > /etc/x",
		"become root":         "su -c true root < /dev/null",
		"trace":               "strace -o /dev/null true",
	}
	eachLevel(t, Config{HidePaths: []string{secret}}, func(t *testing.T, b *box) {
		if b.Level() == None {
			t.Skip("nothing is promised")
		}
		for name, command := range commands {
			if exit, out := b.run(b.program(command)); exit.Code == 0 {
				t.Errorf("%s: succeeded: %s", name, out)
			}
		}
		for _, command := range []string{"echo x > x && cat x", "echo x > /dev/null", "head -c 1 /dev/urandom",
			"mkdir -p a b && touch a/f && mv a/f b/f", "true | cat"} {
			if exit, out := b.run(b.program(command)); exit.Code != 0 {
				t.Errorf("%s: code %d: %s", command, exit.Code, out)
			}
		}
		_, status := b.run(b.program("cat /proc/self/status"))
		for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapPrm:\t0000000000000000",
			"CapEff:\t0000000000000000", "CapAmb:\t0000000000000000"} {
			if !strings.Contains(status, want) {
				t.Errorf("%q is not in the status of a program", want)
			}
		}
	})
}

// TestHidden hides a folder in one that programs may read.
func TestHidden(t *testing.T) {
	t.Parallel()
	outer := t.TempDir()
	inner := filepath.Join(outer, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{outer + "/seen", inner + "/hidden"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for d := outer; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{ReadPaths: []string{outer}, HidePaths: []string{inner}, levels: []Level{Namespaces}}
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{s, t}
	if _, got := b.run(b.program("cd " + outer + " && find .")); !strings.Contains(got, "seen") ||
		strings.Contains(got, "hidden") {
		t.Errorf("a program sees %q", got)
	}
	c.levels = []Level{Landlock}
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), inner) {
		t.Errorf("Landlock cannot hide it, and Open says %v", err)
	}
}

// TestTree starts processes that try to outlive their program.
func TestTree(t *testing.T) {
	t.Parallel()
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		mark := fmt.Sprintf("mark%d", time.Now().UnixNano())
		daemon := "(setsid sh -c 'exec 0<&- 1>&- 2>&-; sleep 1000; : " + mark + "' &) ; sleep 0.1;"
		if exit, _ := b.run(b.program(daemon + "exit 4")); exit.Code != 4 {
			t.Errorf("exit = %+v", exit)
		}
		if n := count(t, mark); n > 0 {
			t.Errorf("%d processes live on", n)
		}
		p := b.program("trap '' TERM HUP INT; " + daemon + " echo > begun; while :; do sleep 1; done")
		process, err := b.Start(p)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, filepath.Join(p.Workspace, "begun"))
		if err := process.Terminate(); err != nil {
			t.Error(err)
		}
		if err := process.Kill(); err != nil {
			t.Error(err)
		}
		if exit, err := process.Wait(); err != nil || exit.Code != 137 {
			t.Errorf("exit = %+v, %v", exit, err)
		}
		if n := count(t, mark); n > 0 {
			t.Errorf("%d processes live on", n)
		}
		if err := process.Kill(); err != nil {
			t.Errorf("killing again: %v", err)
		}
	})
}

// TestGrace asks a program to end whose first process does so at once, while something else of it
// has work left.
func TestGrace(t *testing.T) {
	t.Parallel()
	const worker = "trap 'sleep 0.5; echo done > last; exit 0' TERM; echo > begun; while :; do sleep 0.05; done"
	const deaf = "trap '' TERM; echo > begun; while :; do sleep 0.05; done"
	tests := map[string]struct {
		command string
		killed  bool // it does not end by itself
	}{
		"child":              {"sh -c \"" + worker + "\"; :", false},
		"background":         {"sh -c \"" + worker + "\" & wait", false},
		"session":            {"setsid sh -c \"" + worker + "\" & wait", false},
		"daemon":             {"(setsid sh -c \"" + worker + "\" &); exec sleep 1000", false},
		"deaf child":         {"sh -c \"" + deaf + "\"; :", true},
		"deaf daemon":        {"(setsid sh -c \"" + deaf + "\" &); exec sleep 1000", true},
		"daemon that sleeps": {"(setsid sleep 1000 &); echo > begun; exec sleep 1000", false},
	}
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				(&box{b.Sandbox, t}).endsInGrace(tt.command, tt.killed, strings.Contains(tt.command, worker))
			})
		}
	})
}

// endsInGrace asks a command to end, which lives on as long as anything of it works, and no longer.
func (b *box) endsInGrace(command string, killed, works bool) {
	p := b.program(command)
	process, err := b.Start(p)
	if err != nil {
		b.t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = process.Kill() })
	defer timer.Stop()
	ended := make(chan Exit, 1)
	go func() {
		exit, err := process.Wait()
		if err != nil {
			b.t.Error(err)
		}
		ended <- exit
	}()
	waitFor(b.t, filepath.Join(p.Workspace, "begun"))
	if err := process.Terminate(); err != nil {
		b.t.Fatal(err)
	}
	if killed {
		select {
		case exit := <-ended:
			b.t.Fatalf("it was ended before the grace was over: %+v", exit)
		case <-time.After(time.Second):
		}
		if err := process.Kill(); err != nil {
			b.t.Fatal(err)
		}
	}
	if exit := <-ended; exit.Code != 143 || exit.Reason != "" {
		b.t.Errorf("exit = %+v", exit)
	}
	if !timer.Stop() {
		b.t.Error("it did not end by itself")
	}
	if works {
		if _, err := os.Stat(filepath.Join(p.Workspace, "last")); err != nil {
			b.t.Errorf("the last work is lost: %v", err)
		}
	}
}

// TestSurroundings looks for what programs expect to find in a view of files of their own.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ command, want string }{
		"name":           {"whoami", "job\n"},
		"home":           {"getent passwd $(id -u) | cut -d: -f1,6", "job:/workspace\n"},
		"group":          {"id -gn", "job\n"},
		"groups":         {"id -Gn", "job\n"},
		"others' names":  {"getent passwd root | cut -d: -f1,3", "root:0\n"},
		"tilde":          {"unset HOME; bash -c 'cd / && cd ~ && pwd'", "/workspace\n"},
		"home of Python": {"python3 -c 'import os, pwd; print(pwd.getpwuid(os.getuid()).pw_dir)'", "/workspace\n"},
		"home of Node":   {"node -p 'os.userInfo().username + os.userInfo().homedir'", "job/workspace\n"},
		"host":           {"getent ahostsv4 $(uname -n) | cut -d' ' -f1 | sort -u", "127.0.0.1\n"},
		"localhost":      {"getent ahostsv4 localhost | cut -d' ' -f1 | sort -u", "127.0.0.1\n"},
		"address":        {"getent hosts 127.0.0.1 | cut -b1-9,17-26", "127.0.0.1localhost\n"},
		"host of Python": {"python3 -c 'import socket; print(socket.gethostbyname(socket.gethostname()))'", "127.0.0.1\n"},
		"names stay": {"for f in passwd group hosts; do (echo x >/etc/$f) 2>/dev/null || echo $f; done; rm -f " +
			"/etc/hosts 2>/dev/null || echo kept", "passwd\ngroup\nhosts\nkept\n"},
		"terminal": {"python3 -c 'import pty, os; r = pty.spawn([\"tty\"]); exit(r)' </dev/null", "/dev/pts/0\r\n"},
		"terminal of tty": {"python3 -c 'import pty; pty.spawn([\"sh\", \"-c\", \"echo hi >/dev/tty; stty -echo; stty " +
			"size\"])' </dev/null", "hi\r\n0 0\r\n"},
		"script": {"script -qec 'test -t 0 && test -t 1 && echo tty' /dev/null </dev/null | tr -d '\\r'", "tty\n"},
		"many terminals": {"python3 -c 'import os\nn=0\ntry:\n  while 1: os.openpty(); n+=1\nexcept OSError: print(n)'",
			"64\n"},
		"none of others'": {"ls /dev/pts", "ptmx\n"},
		"no terminal":     {"(: </dev/tty) 2>/dev/null || echo none", "none\n"},
		"line discipline": {"python3 -c 'import fcntl, os, struct\nm, s = os.openpty()\ntry: fcntl.ioctl(s, 0x5423, " +
			"struct.pack(\"i\", 2)); print(\"set\")\nexcept PermissionError: print(\"no\")'", "no\n"},
		"processors": {"test $(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l) -ge $(nproc) && echo ok", "ok\n"},
		"lscpu":      {"lscpu -p=cpu >list && test $(grep -vc '#' list) -ge $(nproc) && echo ok", "ok\n"},
		"processors stay": {"(echo 0 >/sys/devices/system/cpu/cpu0/online) 2>/dev/null || echo no; ls /sys; ls " +
			"/sys/devices/system | grep -v node", "no\ndevices\ncpu\n"},
		"mounts": {`grep -E ' /(sys|dev/pts|dev/tty)' /proc/self/mounts | awk '{print $2, $4}' | grep -vE '(^/sys.* ro,nosuid,nodev,noexec)|(^/dev/(pts|tty) rw,nosuid,noexec)'; echo end`, "end\n"},
	}
	eachView(t, func(t *testing.T, b *box) {
		for name, tt := range tests {
			if exit, got := b.run(b.program(tt.command)); exit.Code != 0 || got != tt.want {
				t.Errorf("%s: code %d, %q, want %q", name, exit.Code, got, tt.want)
			}
		}
	})
}

// eachView runs a test with views of files made by root and, where the test is run by root, by an
// ordinary user.
func eachView(t *testing.T, test func(t *testing.T, b *box)) {
	t.Helper()
	s, err := Open(t.Context(), Config{levels: []Level{Namespaces}, ReadPaths: pythonFolders(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("root", func(t *testing.T) { test(t, &box{s, t}) })
	user := &Sandbox{config: s.config, log: s.log, level: Namespaces, user: true, abi: s.abi, cpus: s.cpus}
	t.Run("user namespace", func(t *testing.T) { test(t, &box{user, t}) })
}

// TestForkBomb lets a program do nothing but start others.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{levels: []Level{Namespaces}})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{s, t}
	p := b.program("f() { f | f & }; (f); echo > begun; exec sleep 1000") // a shell that cannot fork ends
	p.Processes = 40
	process, err := b.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, filepath.Join(p.Workspace, "begun"))
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := process.Wait(); err != nil {
		t.Error(err)
	}
}

// TestProcesses lets two programs at once start as many processes as each may.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{levels: []Level{Namespaces}})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{s, t}
	// dash gives up when it cannot fork; its own, sleep's and begun's processes are the rest of the
	// limit.
	p := b.program("for i in $(seq 40); do sleep 1000 & done; echo > begun; while [ ! -e go ]; do sleep 0.05; done; " +
		"exit 3")
	p.Processes = 60
	first, err := b.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, filepath.Join(p.Workspace, "begun"))
	second := b.program("for i in $(seq 40); do sleep 1000 & done; exit 4")
	second.Processes = 60
	if exit, out := b.run(second); exit.Code != 4 {
		t.Errorf("beside another program: %+v: %s", exit, out)
	}
	third := b.program("for i in $(seq 100); do sleep 1000 & done; exit 5")
	third.Processes = 60
	if exit, out := b.run(third); exit.Code == 5 {
		t.Errorf("a program started 100 processes where 60 are allowed: %s", out)
	}
	if err := os.WriteFile(filepath.Join(p.Workspace, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if exit, err := first.Wait(); err != nil || exit.Code != 3 {
		t.Errorf("the first program: %+v, %v", exit, err)
	}
}

// TestServerKilled kills the process that started a program.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	for _, level := range []Level{Namespaces, Landlock, None} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			mark := fmt.Sprintf("mark%d", time.Now().UnixNano())
			cmd := exec.Command("/proc/self/exe", "server", dir, string(level), mark)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, filepath.Join(dir, "begun"))
			lock, err := os.Open(filepath.Join(dir, "lock"))
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
				t.Errorf("the lock is free while the program runs: %v", err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { // waits
				t.Fatal(err)
			}
			if n := count(t, mark); n > 0 {
				t.Errorf("%d processes live on", n)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		p := b.program("exec tail /dev/zero")
		p.MemoryBytes = 64 << 20
		if exit, _ := b.run(p); exit.Reason != OOMKilled || exit.Code != 137 {
			t.Errorf("memory: %+v", exit)
		}
		p = b.program("for i in 1 2 3 4 5 6 7 8; do head -c 2000000 /dev/zero > $i; done; exec sleep 1000")
		p.WorkspaceBytes = 8 << 20
		if exit, _ := b.run(p); exit.Reason != Evicted || !strings.Contains(exit.Message, "MAX_WORKSPACE_BYTES") {
			t.Errorf("disk: %+v", exit)
		}
		for name, command := range map[string]string{
			"deep down": "d=.; for i in $(seq 300); do d=$d/d; done; mkdir -p $d; exec sleep 1000",
			"in a closed folder": "mkdir d; for i in 1 2 3 4 5 6 7 8; do head -c 2000000 /dev/zero > d/$i; done; chmod 0 d; " +
				"exec sleep 1000",
			"in a removed file": "exec 7> gone; rm gone; head -c 16000000 /dev/zero >&7; exec sleep 1000",
			"in the log":        "head -c 16000000 /dev/zero; exec sleep 1000",
		} {
			p = b.program(command)
			p.WorkspaceBytes = 8 << 20
			if exit, _ := b.run(p); exit.Reason != Evicted {
				t.Errorf("%s: %+v", name, exit)
			}
			_ = os.Chmod(filepath.Join(p.Workspace, "d"), 0o700)
		}
		// Many names are one file, and room that others share is not used twice.
		p = b.program("head -c 3000000 /dev/zero > 1; for i in $(seq 2 30); do ln 1 $i; done; sleep 1.5")
		p.WorkspaceBytes = 8 << 20
		if exit, out := b.run(p); exit.Code != 0 || exit.Reason != "" {
			t.Errorf("one file of many names: %+v: %s", exit, out)
		}
		p = b.program("for i in $(seq 500); do mkdir -p d/$i; done; exec sleep 1000")
		p.WorkspaceFiles = 100
		if exit, _ := b.run(p); exit.Reason != Evicted {
			t.Errorf("files: %+v", exit)
		}
		p = b.program("head -c 2000000 /dev/zero > big")
		p.FileBytes = 1 << 20
		if exit, _ := b.run(p); exit.Code == 0 {
			t.Errorf("file size: %+v", exit)
		}
		p = b.program("nproc")
		p.CPUMillis = 500
		if _, got := b.run(p); strings.TrimSpace(got) != "1" {
			t.Errorf("half a CPU is %q", got)
		}
		if got := b.Limits(500, 1<<20); got.CPU == "" || got.Memory == "" {
			t.Errorf("limits = %+v", got)
		}
	})
}

// TestModes makes sure that what is required is not quietly left out.
func TestModes(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{"auto": true, "required": true, "off": true, "": false, "on": false} {
		var m Mode
		if err := m.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	off, err := Open(t.Context(), Config{Mode: Off})
	if err != nil || off.Level() != None || !strings.Contains(off.Describe(), "NONE") {
		t.Errorf("off: %v, %v", off, err)
	}
	required, err := Open(t.Context(), Config{Mode: Required})
	if err != nil || required.Level() == None {
		t.Errorf("required: %v, %v", required, err)
	}
	s := &Sandbox{config: Config{Mode: Required}}
	for _, c := range s.candidates() {
		if c.level == None {
			t.Error("required may come to nothing")
		}
	}
	if _, err := Open(t.Context(), Config{levels: []Level{}}); err == nil ||
		!strings.Contains(err.Error(), "SANDBOX=auto") {
		t.Errorf("without any level the error is %v", err)
	}
}

// TestPrepare makes sure that links do not lead it out of the workspace.
func TestPrepare(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	s, err := Open(t.Context(), Config{levels: []Level{Namespaces}})
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/a/b/c", 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"/a/file": outside, "/a/b/dir": filepath.Dir(outside)} {
		if err := os.Symlink(target, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Prepare(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint32{outside: 0, dir: nobody, dir + "/a/b/c": nobody, dir + "/a/file": nobody} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Uid != want {
			t.Errorf("%s belongs to %d (%v), want %d", path, st.Uid, err, want)
		}
	}
}

// TestInterpreters runs the runtimes' interpreters, each of which does what a deny list could
// break: threads, processes, and memory that can be executed.
func TestInterpreters(t *testing.T) {
	t.Parallel()
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		processes := "with m.Pool(2) as p: print(p.map(abs, [-1, -2]))"
		if b.Level() == Landlock { // pools lock with files in /dev/shm, which is the machine's there
			processes = "p = m.Process(target=print, args=([1, 2],)); p.start(); p.join()"
		}
		for name, p := range map[string]struct{ path, file, text, want string }{
			"python": {"/usr/bin/python3", "x.py", "import multiprocessing as m, threading\nt = " +
				"threading.Thread(target=print, args=('thread',)); t.start(); t.join()\nif __name__ == '__main__':\n    " +
				processes + "\n", "[1, 2]"},
			"node": {"/usr/bin/node", "x.js", "const {Worker} = require('worker_threads'); new " +
				"Worker('require(\"worker_threads\").parentPort.postMessage(7)', {eval: true}).on('message', m => " +
				"console.log('got', m, require('child_process').execSync('echo child').toString()))", "got 7 child"},
			"java": {"/usr/bin/java", "X.java", "public class X { public static void main(String[] a) throws Exception { " +
				"Thread t = new Thread(() -> System.out.println(\"thread\")); t.start(); t.join(); System.out.println(new " +
				"ProcessBuilder(\"true\").start().waitFor()); } }", "thread\n0"},
		} {
			if _, err := os.Stat(p.path); err != nil {
				t.Logf("%s is not installed", name)
				continue
			}
			program := b.program("")
			if err := os.WriteFile(filepath.Join(program.Workspace, p.file), []byte(p.text), 0o644); err != nil {
				t.Fatal(err)
			}
			program.Path, program.Args = p.path, []string{p.file}
			if exit, out := b.run(program); exit.Code != 0 || !strings.Contains(out, p.want) {
				t.Errorf("%s: %+v: %s", name, exit, out)
			}
		}
	})
}

// count returns how many processes have the text in their command line.
func count(t *testing.T, text string) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), text) {
			n++
		}
	}
	return n
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come", path)
		}
	}
}

// BenchmarkStart measures what the sandbox costs a program that does nothing.
func BenchmarkStart(b *testing.B) {
	for _, level := range []Level{Namespaces, Landlock, None} {
		b.Run(string(level), func(b *testing.B) {
			s, err := Open(b.Context(), Config{levels: []Level{level}})
			if err != nil {
				b.Fatal(err)
			}
			dir := b.TempDir()
			if err := s.Prepare(dir); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				p, err := s.Start(Program{Path: "/bin/true", Workspace: dir, Tmp: dir})
				if err != nil {
					b.Fatal(err)
				}
				if exit, err := p.Wait(); err != nil || exit.Code != 0 {
					b.Fatal(exit, err)
				}
			}
		})
	}
}
