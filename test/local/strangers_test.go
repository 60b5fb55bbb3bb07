package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
)

// plainCommand is the orchestrator as users have it. The race detector takes several times the
// memory.
var plainCommand = sync.OnceValues(func() (string, error) {
	path, err := command()
	if err != nil {
		return "", err
	}
	path = filepath.Join(filepath.Dir(path), "plain")
	build := exec.Command("go", "build", "-tags", "grpcnotrace,disable_grpc_modules", "-o", path,
		"go-job-orchestrator/functions/cmd/all")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// raw sends a request as it is written, and returns the answer and its body.
func (s *server) raw(text string) (*http.Response, []byte) {
	s.t.Helper()
	c := s.dial(text)
	defer c.Close()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatalf("%q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, body
}

// dial opens a connection, and sends a text on it.
func (s *server) dial(text string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// TestRebinding sends the requests of a page whose own name points to this machine. For the browser
// they are same-site requests.
func TestRebinding(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	body, contentType := script("true\n").encode()
	page := func(host string) (submit, list *http.Response, text []byte) {
		head := "Host: " + host + "\r\nOrigin: http://" + host + "\r\nSec-Fetch-Site: same-origin\r\nX-Forwarded-Host: " +
			"localhost\r\n"
		submit, text = s.raw(fmt.Sprintf("POST /api/v1/jobs HTTP/1.1\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			head, contentType, len(body), body))
		list, _ = s.raw("GET /api/v1/jobs HTTP/1.1\r\n" + head + "\r\n")
		return submit, list, text
	}
	for _, host := range []string{"evil.example", "evil.example:8080", "localhost.evil.example", "192.0.2.1",
		"[2001:db8::1]:80"} {
		submit, list, text := page(host)
		var p api.Problem
		if err := json.Unmarshal(text, &p); err != nil || p.Status != http.StatusMisdirectedRequest ||
			!strings.Contains(p.Detail, "ALLOWED_HOSTS") {
			t.Errorf("%s: %s %s", host, submit.Status, text)
		}
		if submit.StatusCode != http.StatusMisdirectedRequest || list.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s: submit %s, list %s", host, submit.Status, list.Status)
		}
	}
	if left := strays(t, s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	for _, host := range []string{"localhost", "a.localhost:1", "127.0.0.1:8080", "[::1]"} {
		if submit, list, text := page(host); submit.StatusCode != http.StatusCreated || list.StatusCode != http.StatusOK {
			t.Errorf("%s: submit %s, list %s, %s", host, submit.Status, list.Status, text)
		}
	}
	s = start(t, t.TempDir(), "ALLOWED_HOSTS=jobs.example.com,*.example.org", "ORCH_BASE_URL=https://base.example/x")
	for host, want := range map[string]int{"jobs.example.com": 201, "a.example.org": 201, "base.example": 201,
		"example.org": 421, "evil.example": 421} {
		if submit, _, text := page(host); submit.StatusCode != want {
			t.Errorf("%s: %s %s", host, submit.Status, text)
		}
	}
}

// stranger is a client that sends a lot at once.
type stranger struct {
	count int
	send  func(s *server, i int) error
}

// TestMemoryOfStrangers has strangers fill the server's memory by requests. Others are answered
// meanwhile.
func TestMemoryOfStrangers(t *testing.T) {
	const limit = 150 << 20
	form := "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; " +
		"boundary=x\r\nContent-Length: 100000000\r\n\r\n"
	event := `{"a":"` + strings.Repeat("x", 4<<20-100) + `"}`
	for name, attack := range map[string]stranger{
		"headers of parts, then silence": {60, func(s *server, _ int) error {
			c := s.dial(form + "--x\r\n")
			line := "X-Header: " + strings.Repeat("y", 1000) + "\r\n"
			for range 10 << 20 / len(line) {
				if _, err := io.WriteString(c, line); err != nil {
					return nil // refused
				}
			}
			return nil
		}},
		"fields, then silence": {60, func(s *server, _ int) error {
			c := s.dial(form)
			for range 4 {
				if _, err := io.WriteString(c, "--x\r\nContent-Disposition: form-data; name=\"arg\"\r\n\r\n"+
					strings.Repeat("y", 1_000_000)+"\r\n"); err != nil {
					return nil
				}
			}
			return nil
		}},
		"files, then silence": {300, func(s *server, _ int) error {
			s.dial(form + "--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a\"\r\n\r\n" +
				strings.Repeat("y", 100_000))
			return nil
		}},
		"events at once": {40, func(s *server, i int) error {
			req, err := http.NewRequest(http.MethodPost, s.url+"/events?template=t", strings.NewReader(event))
			if err != nil {
				return err
			}
			for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": fmt.Sprint(i), "ce-source": "/x",
				"ce-type": "t", "Content-Type": "application/json"} {
				req.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusAccepted && (resp.StatusCode != http.StatusServiceUnavailable ||
				resp.Header.Get("Retry-After") == "") {
				return fmt.Errorf("%s %s", resp.Status, answer)
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startPlain(t)
			s.put("t", script("true\n"))
			before := s.memory("VmHWM")
			var all sync.WaitGroup
			for i := range attack.count {
				all.Go(func() {
					if err := attack.send(s, i); err != nil {
						t.Error(err)
					}
				})
			}
			ended := make(chan struct{})
			go func() { all.Wait(); close(ended) }()
			for honest, over := 0, false; !over || honest < 5; honest++ {
				if resp, data, err := s.post(script("true\n")); err != nil || resp.StatusCode != http.StatusCreated {
					t.Fatalf("somebody else's submit: %v %s", err, data)
				}
				select {
				case <-ended:
					over = true
				default:
				}
			}
			peak := s.memory("VmHWM")
			t.Logf("%d MiB before, %d at most", before>>20, peak>>20)
			if peak > limit {
				t.Errorf("the server took %d MiB; want at most %d", peak>>20, limit>>20)
			}
		})
	}
}

// startPlain runs the command as users have it.
func startPlain(t *testing.T, vars ...string) *server {
	t.Helper()
	path, err := plainCommand()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, path, t.TempDir(), append([]string{"MAX_CONCURRENT_JOBS=1"}, vars...)...)
}

// memory is one line of the kernel's information about the server's memory.
func (s *server) memory(name string) int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Skip("this system does not tell how much memory a process has")
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		s.t.Fatal(err)
	}
	return kib << 10
}

// established reports whether the server still has the connection of a client that has this port.
func (s *server) established(port int) bool {
	s.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		s.t.Skip("this system does not tell which connections there are")
	}
	const established = "01"
	_, own, _ := strings.Cut(strings.TrimPrefix(s.url, "http://"), ":")
	here, err := strconv.Atoi(own)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[3] == established && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", here)) &&
			strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", port)) {
			return true
		}
	}
	return false
}

// TestClientsThatStall has clients stop in the middle of everything that they can send or receive.
// The server must disconnect each of them.
func TestClientsThatStall(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "STALL_TIMEOUT=1s")
	writer := s.submit(python("import time\nfor _ in range(640): print('x' * 100_000)\nprint('written', " +
		"flush=True)\ntime.sleep(1000)\n"))
	large := s.submit(python("import os\nopen('results/large', 'wb').write(os.urandom(64 << 20))\n"))
	must(t, large.wait(), job.Succeeded, job.ReasonCompleted)
	s.until("all is written", func() bool { return strings.Contains(writer.logs("tail=1"), "written") })
	auth := func(j *sent) string { return "Host: localhost\r\nAuthorization: Bearer " + j.Token + "\r\n" }
	body := "Host: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n--x\r\n"
	for name, request := range map[string]string{
		"a submit":   "POST /api/v1/jobs HTTP/1.1\r\n" + body,
		"a template": "PUT /api/v1/templates/x HTTP/1.1\r\n" + body,
		"an event": "POST /events?template=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
			"1000\r\n\r\n{",
		"chunks that no call asks for": "GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n5\r\n",
		"a cancel with a body": "POST " + large.path() + "/cancel HTTP/1.1\r\n" + auth(large) +
			"Content-Length: 1000\r\n\r\n{",
		"a body after another name": "POST /api/v1/jobs HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\n{",
		"a download":                "GET /outputs/" + large.ID + "/large HTTP/1.1\r\n" + auth(large) + "\r\n",
		"an archive":                "GET /outputs/" + large.ID + "?format=tar.gz HTTP/1.1\r\n" + auth(large) + "\r\n",
		"a follower": "GET " + writer.path() + "/logs?follow=true&tail=all HTTP/1.1\r\n" + auth(writer) +
			"\r\n",
	} {
		c := s.dial(request)
		if strings.HasPrefix(request, "GET /outputs") || strings.Contains(request, "follow") {
			// The client reads nothing, so only the server's side shows whether the connection was closed.
			port := c.LocalAddr().(*net.TCPAddr).Port
			s.until(name+" is cut off", func() bool { return !s.established(port) })
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s is not cut off", name)
		}
	}
	writer.call(http.MethodDelete, writer.path())
}

// TestManyConnections opens more connections than the server allows. It closes idle ones to make
// room.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "MAX_CONNECTIONS=16")
	for range 50 {
		c := s.dial("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	must(t, s.submit(script("true\n")).wait(), job.Succeeded, job.ReasonCompleted)
}
