package client_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/form"
)

const (
	jobID    = "fe5dd2b7a3554e047de83b784ae96cc0"
	accepted = `{"jobID":"` + jobID + `","token":"t"}`
)

// server answers submits one after the other.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	keys   map[string]bool
	turns  int
}

// serve starts a server, and has answer answer the n-th request, from 0 on, after its body was read.
func serve(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *server {
	t.Helper()
	s := &server{keys: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := s.turns
		s.turns++
		s.keys[r.Header.Get("Idempotency-Key")] = true
		s.mu.Unlock()
		answer(n, w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// take reads the whole body.
func (s *server) take(t *testing.T, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, body)
}

func (s *server) client(t *testing.T) *client.Client { return clientOf(t, s.URL) }

func clientOf(t *testing.T, text string) *client.Client {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return client.New(u, "")
}

// problem answers with a problem document.
func problem(w http.ResponseWriter, status int, detail, field string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"detail":%q,"errors":[{"field":%q,"message":"m"}]}`, status, detail, field)
}

// cut closes the connection as a broken line does.
func cut(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // a reset
	_ = conn.Close()
}

func large(n int) *form.Form {
	text := strings.Repeat("0123456789abcdef", n/16)
	return &form.Form{Fields: []form.Field{{Name: "name", Value: "x"}}, Files: []form.File{form.Text("a.py", text)}}
}

func submit(ctx context.Context, c *client.Client, f *form.Form, patience time.Duration) (client.Accepted, error) {
	return c.Submit(ctx, "/api/v1/jobs", f, client.SubmitOptions{Key: client.NewKey(), Patience: patience})
}

// TestCutUploads cuts off an upload ten times, each time somewhere else. The last try sends the same
// key and all of the bytes.
func TestCutUploads(t *testing.T) {
	t.Parallel()
	const size, cuts = 2 << 20, 6
	var s *server
	s = serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch {
		case n < cuts:
			_, _ = io.CopyN(io.Discard, r.Body, rand.Int64N(size))
			cut(w)
		case n == cuts:
			s.take(t, r)
			cut(w) // before the answer
		default:
			s.take(t, r)
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, accepted)
		}
	})
	f := large(size)
	var said int
	got, err := s.client(t).Submit(t.Context(), "/api/v1/jobs", f, client.SubmitOptions{
		Key: client.NewKey(), Retrying: func(error, time.Duration) { said++ },
	})
	if err != nil || got.JobID != jobID || string(got.Raw) != accepted {
		t.Fatalf("got %+v, %v", got, err)
	}
	if len(s.keys) != 1 || said != cuts+1 {
		t.Errorf("%d keys were sent, and %d pauses were said", len(s.keys), said)
	}
	whole, err := io.ReadAll(f.Body(t.Context()))
	if err != nil || len(s.bodies) != 2 || !bytes.Equal(s.bodies[0], whole) || !bytes.Equal(s.bodies[1], whole) {
		t.Errorf("other bytes were sent than the form has")
	}
}

// TestAnswers sends forms to servers that do not accept them at once.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter, r *http.Request)
		turns  int
		want   string // in the error; empty: accepted
		unsure bool
	}{
		{"busy", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n < 2 {
				w.Header().Set("Retry-After", "0.01")
				problem(w, 503, "the storage does not answer", "")
			}
		}, 3, "", false},
		{"too many", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 0 {
				problem(w, 429, "too many", "")
			}
		}, 2, "", false},
		{"the key of a request that is on its way", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 0 {
				problem(w, 409, "wait", "Idempotency-Key")
			}
		}, 2, "", false},
		{"refused", func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, 422, "no such profile", "profile") }, 1, "no such profile", false},
		{"no key", func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, 401, "who are you", "") }, 1, "who are you", false},
		{"a fault of the server", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 1, "may have been accepted", true},
		{"changed after an accepted try", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 0 {
				cut(w)
				return
			}
			problem(w, 422, "the same key", "Idempotency-Key")
		}, 2, "a file changed between two tries", false},
		{"always busy", func(_ int, w http.ResponseWriter, _ *http.Request) {
			problem(w, 503, "the storage does not answer", "")
		}, 0, "may have been accepted", true},
		{"another server", func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"items":[]}`) }, 1, "does not answer as a server of the Go Job Orchestrator", false},
		{"no JSON", func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `<html>`) }, 1, "does not answer as a server of the Go Job Orchestrator", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var s *server
			s = serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
				s.take(t, r)
				answered := &noted{ResponseWriter: w}
				if test.answer(n, answered, r); !answered.done {
					w.WriteHeader(http.StatusCreated)
					_, _ = io.WriteString(w, accepted)
				}
			})
			_, err := submit(t.Context(), s.client(t), large(1000), 300*time.Millisecond)
			var unsure *client.UnsureError
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) ||
				errors.As(err, &unsure) != test.unsure {
				t.Errorf("got %v", err)
			}
			if test.turns > 0 && s.turns != test.turns || test.turns == 0 && s.turns < 2 {
				t.Errorf("%d tries", s.turns)
			}
		})
	}
}

type noted struct {
	http.ResponseWriter
	done bool
}

func (n *noted) WriteHeader(status int) { n.done = true; n.ResponseWriter.WriteHeader(status) }

func (n *noted) Write(p []byte) (int, error) { n.done = true; return n.ResponseWriter.Write(p) }

func (n *noted) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	n.done = true
	return n.ResponseWriter.(http.Hijacker).Hijack()
}

// TestEarlyAnswers has the server refuse while the body is sent. What it says is shown, and no broken
// pipe.
func TestEarlyAnswers(t *testing.T) {
	t.Parallel()
	const answer = "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\nConnection: close\r\n" +
		"Content-Length: 32\r\n\r\n" + `{"detail":"it is far too large"}`
	for name, read := range map[string]int64{"before the body": 0, "in the middle": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Connection", "close")
				if read == 0 { // the client asks before it sends the body
					problem(w, 413, "it is far too large", "body")
					return
				}
				_, _ = io.CopyN(io.Discard, r.Body, read)
				_ = http.NewResponseController(w).EnableFullDuplex() // as our server does
				problem(w, 413, "it is far too large", "body")
				_ = http.NewResponseController(w).Flush()
				_, _ = io.CopyN(io.Discard, r.Body, 64<<20)
			})
			_, err := submit(t.Context(), s.client(t), large(64<<20), time.Second)
			if err == nil || !strings.Contains(err.Error(), "it is far too large") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("and a reset", func(t *testing.T) { // as proxies do
		t.Parallel()
		s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close() // with bytes of the body that nobody has read
		})
		_, err := submit(t.Context(), s.client(t), large(64<<20), 10*time.Second)
		if err == nil || !strings.Contains(err.Error(), "it is far too large") {
			t.Errorf("got %v", err)
		}
	})
}

// TestNobody does not wait for a server that was never there.
func TestNobody(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	begin := time.Now()
	_, err = submit(t.Context(), clientOf(t, "http://"+l.Addr().String()), large(1000), time.Minute)
	var unreachable *client.UnreachableError
	if !errors.As(err, &unreachable) || time.Since(begin) > 30*time.Second {
		t.Errorf("got %v after %s", err, time.Since(begin))
	}
}

// TestInterrupted cancels an upload: in the middle there is no job, and at the end there may be one.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"in the middle": 64 << 20, "at the end": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			interrupt := errors.New("interrupted")
			ended := make(chan struct{})
			s := serve(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
				if size == 1000 {
					_, _ = io.ReadAll(r.Body)
				} else {
					_, _ = io.CopyN(io.Discard, r.Body, 1000)
				}
				cancel(interrupt)
				<-ended
			})
			_, err := submit(ctx, s.client(t), large(size), time.Minute)
			close(ended)
			var unsure *client.UnsureError
			if !errors.Is(err, interrupt) || errors.As(err, &unsure) != (size == 1000) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestLocalFault ends at a file that cannot be read, and is not tried again.
func TestLocalFault(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ int, _ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) })
	f := &form.Form{Files: []form.File{{Name: "a", Size: 1 << 20, Open: func() (io.ReadCloser, error) {
		return nil, errors.New("the disk is on fire")
	}}}}
	_, err := submit(t.Context(), s.client(t), f, time.Minute)
	var local *form.LocalError
	if !errors.As(err, &local) || err.Error() != "the disk is on fire" || s.turns > 1 {
		t.Errorf("got %v after %d tries", err, s.turns)
	}
}
