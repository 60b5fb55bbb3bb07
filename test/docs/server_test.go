package docs

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/runtimes"
)

// patience bounds each wait for a condition. It is long: these machines are shared.
const patience = 2 * time.Minute

// tags are those with which everything is built, so that the tests of a run share what is compiled.
const tags = "grpcnotrace,disable_grpc_modules"

// built is a folder for what is built.
var built = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "docs-") })

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// build returns the path of a command as users build it. The race detector would make every start
// of it, and of the stages of its sandbox, many times as slow.
func build(name, pkg string) (string, error) {
	dir, err := built()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-tags", tags, "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// gojob is the command line, and command the one process.
var (
	gojob   = sync.OnceValues(func() (string, error) { return build("gojob", "go-job-orchestrator/cmd/gojob") })
	command = sync.OnceValues(func() (string, error) { return build("all", "go-job-orchestrator/functions/cmd/all") })
)

// searchPath has the folders of the interpreters themselves before those of a version manager's
// shims, which every server would ask again and which take long to answer.
var searchPath = sync.OnceValue(func() string {
	path := os.Getenv("PATH")
	found := runtimes.Detect(context.Background(), path, os.Getenv("HOME")).SearchPath()
	return found + string(filepath.ListSeparator) + path
})

// serve starts the one process as make run does, on an empty directory, and returns its host and
// port.
func serve(t *testing.T) string {
	t.Helper()
	return start(t, "localhost:"+freePort(t), t.TempDir()).host
}

// server is the one process.
type server struct {
	host   string
	dir    string // STORAGE_DIR
	cmd    *exec.Cmd
	stdout output
	stderr output // the log
	ended  chan struct{}
}

// start starts the one process at a host and port, with settings in the form NAME=value.
func start(t *testing.T, host, dir string, settings ...string) *server {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{host: host, dir: dir, cmd: exec.Command(path), ended: make(chan struct{})}
	s.cmd.Env = append([]string{
		"PATH=" + searchPath(), "HOME=" + os.Getenv("HOME"),
		"PORT=" + strings.TrimPrefix(host, "localhost:"), "STORAGE_DIR=" + dir,
	}, settings...)
	s.cmd.Dir = filepath.Dir(dir) // that of the page, where it finds files that settings name
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("output of the server:\n%s%s", s.stdout.String(), s.stderr.String())
		}
	})
	for deadline := time.Now().Add(patience); !answers("http://" + host + "/healthz"); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.ended:
			t.Fatal("the server ended")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not answer within %s", patience)
		}
	}
	return s
}

// stop kills the server, as a crash would, and waits until it is gone.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// output is what a server prints, and can be read while the server runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
