package hostile

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go-job-orchestrator/shared/runtimes"
)

// patience bounds each wait for a condition. It is long because test machines are shared.
const patience = time.Minute

// tokenKey is the key of every server here, so that the tests can derive any token themselves.
const tokenKey = "aG9zdGlsZS1ob3N0aWxlLWhvc3RpbGUtaG9zdGlsZS0wMQ=="

// server is a running command of the project.
type server struct {
	command string
	dir     string // STORAGE_DIR
	vars    []string
	keys    map[string]string // of callers, by what the tests call them; nil: AUTH=open
	leaks   *leaks
	lasting int // jobs that run until they are stopped
	addr    string
	cmd     *exec.Cmd
	output  *output
	stopped chan struct{}
}

// launch starts a command with settings in the form NAME=value and waits until it answers. Without
// AUTH among them the callers of the suite have keys. Once the server has ended, nothing that it
// wrote may have a key or a token in it.
func (s *suite) launch(t *testing.T, command, dir string, vars ...string) *server {
	t.Helper()
	srv := &server{command: command, dir: dir, leaks: s.leaks, vars: append([]string{
		"PATH=" + s.searchPath, "HOME=" + os.Getenv("HOME"), "STORAGE_DIR=" + dir, "TOKEN_KEYS=" + tokenKey,
		"SECRET_OF_SERVER=do-not-read",
	}, vars...)}
	if !slices.ContainsFunc(vars, func(v string) bool { return strings.HasPrefix(v, "AUTH=") }) {
		srv.keys = s.callers
		srv.vars = append(srv.vars, "AUTH=keys")
		s.store(t, filepath.Join(dir, ".local"))
	}
	t.Cleanup(func() {
		srv.kill()
		s.leaks.check(t, srv)
		if t.Failed() {
			text := srv.output.String()
			t.Logf("the last of the output of the server in %s:\n%s", dir, text[max(0, len(text)-20_000):])
		}
	})
	srv.start(t)
	return srv
}

func (srv *server) start(t *testing.T) {
	t.Helper()
	srv.addr = freeAddress(t)
	_, port, _ := net.SplitHostPort(srv.addr)
	srv.spawn(t, append([]string{"PORT=" + port}, srv.vars...))
	until(t, "the server answers", func() bool {
		select {
		case <-srv.stopped:
			t.Fatalf("the server ended:\n%s", srv.output)
		default:
		}
		a, err := srv.send(get("/healthz"))
		return err == nil && a.status == http.StatusOK
	})
}

func (srv *server) spawn(t *testing.T, vars []string) {
	t.Helper()
	srv.cmd = exec.Command(srv.command)
	srv.cmd.Env = vars
	if srv.output == nil {
		srv.output = &output{}
	}
	srv.cmd.Stdout, srv.cmd.Stderr = srv.output, srv.output
	if err := srv.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	srv.stopped = stopped
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(stopped) }(srv.cmd)
}

// kill ends the server without a chance to do anything.
func (srv *server) kill() {
	if srv.cmd == nil || srv.cmd.Process == nil {
		return
	}
	_ = srv.cmd.Process.Kill()
	<-srv.stopped
}

// restart is a crash and the start after it. It returns how long that took to answer.
func (srv *server) restart(t *testing.T) time.Duration {
	t.Helper()
	srv.kill()
	begin := time.Now()
	srv.start(t)
	return time.Since(begin)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// build compiles a command. It is not built with the race detector, which takes several times the
// memory that is measured here.
func build(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "grpcnotrace,disable_grpc_modules", "-o", path,
		"go-job-orchestrator/functions/cmd/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// searchPath has the folders of the interpreters before those of a version manager's shims, which
// are slow to answer.
func searchPath() string {
	path := os.Getenv("PATH")
	found := runtimes.Detect(context.Background(), path, os.Getenv("HOME"))
	return found.SearchPath() + string(filepath.ListSeparator) + path
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !within(patience, done) {
		t.Fatalf("waited too long until %s", what)
	}
}

// within waits for a condition, and reports whether it became true in time.
func within(atMost time.Duration, done func() bool) bool {
	for end := time.Now().Add(atMost); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// output is what a server prints, written and read at the same time.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// outbox has the steps of jobs that a sink has not taken yet. They come and go in the background.
const outbox = ".orchestrator/outbox/"

// files lists everything that lies in STORAGE_DIR, with its size, but for the outbox.
func (srv *server) files(t *testing.T) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	err := filepath.WalkDir(srv.dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if name, _ := filepath.Rel(srv.dir, path); !strings.HasPrefix(name, outbox) {
			found[name] = info.Size()
		}
		return nil
	})
	if err != nil {
		t.Errorf("walk the storage: %v", err)
	}
	return found
}

// proc is the server's folder in /proc.
func (srv *server) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(srv.cmd.Process.Pid), name)
}

// resetPeak begins to measure the peak of resident memory anew (proc(5), clear_refs).
func (srv *server) resetPeak() {
	_ = os.WriteFile(srv.proc("clear_refs"), []byte("5"), 0) // otherwise the peak is that since the start
}

// peak is the most memory the server had since resetPeak, in bytes.
func (srv *server) peak(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(srv.proc("status"))
	if err != nil {
		t.Errorf("the server is gone: %v", err)
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	t.Error("no VmHWM in /proc")
	return 0
}

// open is how many files and connections the server has open.
func (srv *server) open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(srv.proc("fd"))
	if err != nil {
		t.Errorf("open files of the server: %v", err)
	}
	return len(entries)
}

// openFiles names what is open.
func (srv *server) openFiles(t *testing.T) []string {
	t.Helper()
	entries, _ := os.ReadDir(srv.proc("fd"))
	var names []string
	for _, e := range entries {
		name, err := os.Readlink(filepath.Join(srv.proc("fd"), e.Name()))
		if err == nil {
			names = append(names, name)
		}
	}
	return names
}

// ticks is how much CPU the server has used, in hundredths of a second.
func (srv *server) ticks(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(srv.proc("stat"))
	if err != nil {
		t.Errorf("the server is gone: %v", err)
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return user + system
}

// goroutines ends the server and returns how many it had: SIGQUIT has the runtime of Go print all
// of them.
func (srv *server) goroutines(t *testing.T) int {
	t.Helper()
	_ = srv.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-srv.stopped:
	case <-time.After(patience):
		t.Fatal("the server did not end by SIGQUIT")
	}
	return strings.Count(srv.output.String(), "\ngoroutine ")
}

func mebi(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
