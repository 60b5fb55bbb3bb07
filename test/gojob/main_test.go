// Package gojob tests the command line as its users meet it: the built command, against the built
// one process, in real terminals and pipes.
package gojob

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"go-job-orchestrator/shared/runtimes"
)

// patience bounds each wait for a condition. It is long: these machines are shared.
const patience = 2 * time.Minute

// tags are those with which everything is built, so that the tests of a run share what is compiled.
const tags = "grpcnotrace,disable_grpc_modules"

// built is a folder for what is built.
var built = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "gojob-test-") })

func build(name, pkg string) (string, error) {
	dir, err := built()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-tags", tags, "-o", path, pkg)
	cmd.Dir = filepath.Join("..", "..") // the root's module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, os.Chmod(dir, 0o755)
}

// orchestrator is the one process, and gojob the command line, as users build them.
var (
	orchestrator = sync.OnceValues(func() (string, error) { return build("all", "go-job-orchestrator/functions/cmd/all") })
	gojob        = sync.OnceValues(func() (string, error) { return build("gojob", "go-job-orchestrator/cmd/gojob") })
)

func TestMain(m *testing.M) {
	// Where this is started with nohup, commands would ignore SIGHUP as well. A signal that is handled
	// here is not ignored by them.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	code := m.Run()
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// searchPath has the folders of the interpreters themselves before those of a version manager's
// shims, which every server would ask again and which take long to answer.
var searchPath = sync.OnceValue(func() string {
	path := os.Getenv("PATH")
	found := runtimes.Detect(context.Background(), path, os.Getenv("HOME")).SearchPath()
	return found + string(filepath.ListSeparator) + path
})

// server is the one process. It can be stopped and started again on the same port and directory.
type server struct {
	t        testing.TB
	port     string
	dir      string // STORAGE_DIR
	settings []string
	cmd      *exec.Cmd
	output   *lockedBuffer
	ended    chan struct{}
}

// serve starts the one process on an empty directory, with settings in the form NAME=value.
func serve(t testing.TB, settings ...string) *server {
	t.Helper()
	s := &server{t: t, port: freePort(t), dir: t.TempDir(), settings: settings, output: &lockedBuffer{}}
	s.start()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("output of the server:\n%s", s.output)
		}
	})
	return s
}

func (s *server) url() string { return "http://localhost:" + s.port }

func (s *server) start() {
	s.t.Helper()
	path, err := orchestrator()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.ended = exec.Command(path), make(chan struct{})
	s.cmd.Env = append([]string{
		"PATH=" + searchPath(), "HOME=" + os.Getenv("HOME"), "PORT=" + s.port, "STORAGE_DIR=" + s.dir,
		"REAP_INTERVAL=100ms", "RETRY_BACKOFF=10ms", "KILL_GRACE=500ms", "DRAIN_TIMEOUT=200ms",
	}, s.settings...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, ended := s.cmd, s.ended
	go func() { _ = cmd.Wait(); close(ended) }()
	s.wait("the server answers", func() bool { return answers(s.url() + "/healthz") })
}

// wait waits until a condition holds while the server runs.
func (s *server) wait(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.ended:
			s.t.Fatalf("the server ended:\n%s", s.output)
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// stop kills the server, as a crash would, and waits until it is gone.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// firstKey returns the key of an admin that the server printed at its first start with AUTH=keys.
func (s *server) firstKey() string {
	s.t.Helper()
	var key string
	s.wait("the first key is printed", func() bool {
		_, after, found := strings.Cut(s.output.String(), "gojob_")
		if end := strings.IndexAny(after, "\r\n \""); found && end > 0 {
			key = "gojob_" + after[:end]
		}
		return key != ""
	})
	return key
}

func answers(url string) bool {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get(url)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// lockedBuffer is what a process prints, and can be read while it runs.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestScripts runs every file in testdata/script, one for a command. A script has a folder and a
// configuration of its own, GOJOB_URL and OPEN_URL of an open server that all scripts share, and
// KEYS_URL and ADMIN_KEY of one with AUTH=keys. The file admin-key has that key, too.
func TestScripts(t *testing.T) {
	t.Parallel()
	path, err := gojob()
	if err != nil {
		t.Fatal(err)
	}
	open, keyed := serve(t), serve(t, "AUTH=keys")
	admin := keyed.firstKey()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(path)+string(filepath.ListSeparator)+os.Getenv("PATH"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, ".config"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, ".state"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("GOJOB_URL", open.url())
			e.Setenv("OPEN_URL", open.url())
			e.Setenv("KEYS_URL", keyed.url())
			e.Setenv("KEYS_NAME", "localhost-"+keyed.port) // of its context
			e.Setenv("ADMIN_KEY", admin)
			return os.WriteFile(filepath.Join(e.WorkDir, "admin-key"), []byte(admin+"\n"), 0o600)
		},
		Cmds:                commands(),
		RequireExplicitExec: true,
	})
}
