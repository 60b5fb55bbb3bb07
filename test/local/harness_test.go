// Package local tests the one process as a user meets it: the real command, real programs, a real
// directory.
package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
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

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
)

// patience bounds each wait for a condition. It is long: these machines are shared.
const patience = 2 * time.Minute

// command is the built orchestrator.
var command = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "orchestrator-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "all")
	build := exec.Command("go", "build", "-race", "-tags", "grpcnotrace,disable_grpc_modules", "-o", path,
		"go-job-orchestrator/functions/cmd/all")
	build.Env = append(os.Environ(), "CGO_ENABLED=1") // which the race detector needs
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, os.Chmod(dir, 0o755)
})

// searchPath has the folders of the interpreters themselves before those of a version manager's
// shims, which take longer to answer than most tests take, and would be asked by every server.
// TestGreeting asks them all the same.
var searchPath = sync.OnceValue(func() string {
	path := os.Getenv("PATH")
	return runtimes.Detect(context.Background(), path, os.Getenv("HOME")).SearchPath() + string(filepath.ListSeparator) +
		path
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := command(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// server is a running orchestrator.
type server struct {
	t       *testing.T
	program string
	dir     string
	vars    map[string]string
	user    *syscall.Credential
	cmd     *exec.Cmd
	url     string
	key     string // of the caller, where one is needed
	output  *lines
	stopped chan struct{}
}

// start runs the orchestrator on a directory with settings in the form NAME=value.
func start(t *testing.T, dir string, vars ...string) *server {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, path, dir, vars...)
}

// startProgram is start for a command that was built another way.
func startProgram(t *testing.T, path, dir string, vars ...string) *server {
	t.Helper()
	s := &server{t: t, program: path, dir: dir, vars: map[string]string{
		"REAP_INTERVAL": "100ms", "RETRY_BACKOFF": "10ms", "KILL_GRACE": "500ms", "DRAIN_TIMEOUT": "200ms",
	}}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		s.vars[name] = value
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	port := freePort(s.t)
	s.cmd = exec.Command(s.program)
	s.cmd.Env = []string{"PATH=" + searchPath(), "HOME=" + os.Getenv("HOME"), "PORT=" + port, "STORAGE_DIR=" + s.dir,
		"SECRET_OF_SERVER=do-not-read"}
	for name, value := range s.vars {
		s.cmd.Env = append(s.cmd.Env, name+"="+value)
	}
	s.output = &lines{}
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	stopped := make(chan struct{})
	s.stopped = stopped
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(stopped) }(s.cmd)
	s.url = "http://127.0.0.1:" + port
	s.until("the server answers", func() bool {
		select {
		case <-stopped:
			s.t.Fatalf("the server ended:\n%s", s.output)
		default:
		}
		resp, err := http.Get(s.url + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// kill ends the server without a chance to do anything.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.stopped
	if s.t.Failed() {
		s.t.Logf("output of the server:\n%s", s.output)
	}
}

// stop ends the server in an orderly way.
func (s *server) stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.stopped:
	case <-time.After(patience):
		s.t.Fatalf("the server did not stop:\n%s", s.output)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the server stopped with code %d:\n%s", code, s.output)
	}
}

func (s *server) until(what string, done func() bool) {
	s.t.Helper()
	until(s.t, what, done)
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// says waits until the server has printed a text. Its output comes by another way than its answers,
// and can arrive later.
func (s *server) says(text string) {
	s.t.Helper()
	s.until(fmt.Sprintf("it says %q", text), func() bool { return strings.Contains(s.output.String(), text) })
}

// firstKey returns the key of an admin that the server prints at its first start.
func (s *server) firstKey() string {
	s.t.Helper()
	const says = "The first key, of an admin, shown this once: "
	s.says(says)
	var rest string
	s.until("the line is whole", func() bool {
		_, rest, _ = strings.Cut(s.output.String(), says)
		return strings.Contains(rest, "\n")
	})
	key, _, _ := strings.Cut(rest, "\n")
	return key
}

// lines is output that is written and read at the same time.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// form is a job to be sent: fields as name=value, in this order, and files. An empty runtime or
// entrypoint is not sent.
type form struct {
	runtime, entrypoint string
	files               map[string]string
	archive             string // empty: none
	fields              []string
	header              map[string]string
}

// script is a form for a shell script.
func script(text string, fields ...string) form {
	return form{runtime: "binary", entrypoint: "run", files: map[string]string{"run": "#!/bin/sh\n" + text},
		fields: fields}
}

func python(text string, fields ...string) form {
	return form{runtime: "python", entrypoint: "main.py", files: map[string]string{"main.py": text}, fields: fields}
}

func (f form) encode() (body []byte, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, content := range f.files {
		part, _ := w.CreateFormFile("files", name)
		_, _ = part.Write([]byte(content))
	}
	if f.archive != "" {
		part, _ := w.CreateFormFile("archive", "project")
		_, _ = part.Write([]byte(f.archive))
	}
	fields := slices.DeleteFunc([]string{"runtime=" + f.runtime, "entrypoint=" + f.entrypoint},
		func(field string) bool { return strings.HasSuffix(field, "=") })
	for _, field := range append(fields, f.fields...) {
		name, value, _ := strings.Cut(field, "=")
		_ = w.WriteField(name, value)
	}
	_ = w.Close()
	return b.Bytes(), w.FormDataContentType()
}

// sent is a job that was accepted.
type sent struct {
	s         *server
	ID        string `json:"jobID"`
	Name      string `json:"jobName"`
	Namespace string `json:"namespace"`
	Token     string `json:"token"`
}

// post sends a form and returns the answer.
func (s *server) post(f form) (*http.Response, []byte, error) {
	body, contentType := f.encode()
	req, err := http.NewRequest(http.MethodPost, s.url+"/api/v1/jobs", bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", contentType)
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	for name, value := range f.header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp, data, err
}

func (s *server) submit(f form) *sent {
	s.t.Helper()
	resp, data, err := s.post(f)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("submit: %s\n%s", resp.Status, data)
	}
	j := &sent{s: s}
	if err := json.Unmarshal(data, j); err != nil {
		s.t.Fatal(err)
	}
	if got, want := resp.Header.Get("Location"), "/api/v1/jobs/"+j.ID; got != want {
		s.t.Errorf("Location = %q, want %q", got, want)
	}
	return j
}

// call makes a request with the job's token.
func (j *sent) call(method, path string) (*http.Response, []byte) {
	j.s.t.Helper()
	req, err := http.NewRequest(method, j.s.url+path, nil)
	if err != nil {
		j.s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+j.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		j.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		j.s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, data
}

func (j *sent) path() string { return "/api/v1/jobs/" + j.ID }

func (j *sent) status() job.Status {
	j.s.t.Helper()
	resp, data := j.call(http.MethodGet, j.path())
	if resp.StatusCode != http.StatusOK {
		j.s.t.Fatalf("status: %s\n%s", resp.Status, data)
	}
	var s job.Status
	if err := json.Unmarshal(data, &s); err != nil {
		j.s.t.Fatal(err)
	}
	return s
}

// gone reports whether the job does not exist any more.
func (j *sent) gone() bool {
	resp, _ := j.call(http.MethodGet, j.path())
	return resp.StatusCode == http.StatusNotFound
}

func (j *sent) logs(query string) string {
	j.s.t.Helper()
	resp, data := j.call(http.MethodGet, j.path()+"/logs?"+query)
	if resp.StatusCode != http.StatusOK {
		j.s.t.Fatalf("logs: %s\n%s", resp.Status, data)
	}
	return string(data)
}

func (j *sent) output(name string) string {
	j.s.t.Helper()
	resp, data := j.call(http.MethodGet, "/outputs/"+j.ID+"/"+name)
	if resp.StatusCode != http.StatusOK {
		j.s.t.Fatalf("output %s: %s\n%s", name, resp.Status, data)
	}
	return string(data)
}

// wait waits until the job is over.
func (j *sent) wait() job.Status {
	j.s.t.Helper()
	var last job.Status
	end := time.Now().Add(patience)
	for !last.Phase.Terminal() {
		if time.Now().After(end) {
			j.s.t.Fatalf("job %s is not over: %+v", j.ID, last)
		}
		time.Sleep(20 * time.Millisecond) // a faster look would keep the jobs from running
		last = j.status()
	}
	return last
}

// running waits until the log holds the text.
func (j *sent) running(text string) {
	j.s.t.Helper()
	j.s.until("the log holds "+text, func() bool { return strings.Contains(j.logs("tail=all"), text) })
}

// must checks how a job ended.
func must(t *testing.T, s job.Status, phase job.Phase, reason job.Reason) {
	t.Helper()
	if s.Phase != phase || s.Reason != reason {
		t.Errorf("job is %s (%s: %s), want %s (%s)", s.Phase, s.Reason, s.Message, phase, reason)
	}
}

// processes returns how many processes on this machine have the text in their command line.
func processes(t *testing.T, text string) int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range found {
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(text)) {
			n++
		}
	}
	return n
}

// strays lists the files that lie in the storage directory besides those that belong to no job.
func strays(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir() || rel == ".local/token.key" || rel == ".local/work/lock":
		default:
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
