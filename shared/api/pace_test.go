package api_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/api"
)

// stall is how long clients may stall in these tests.
const stall = 200 * time.Millisecond

func paced(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(api.Paced(h, stall))
	t.Cleanup(s.Close)
	return s
}

// dial opens a connection, and sends a text on it.
func dial(t *testing.T, s *httptest.Server, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// within fails the test when nothing comes from c for long.
func within[T any](t *testing.T, c <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(time.Minute):
		t.Fatalf("%s: nothing after a minute", what)
	}
	return got
}

func TestBodiesThatStall(t *testing.T) {
	read := make(chan error, 1)
	s := paced(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
		w.WriteHeader(http.StatusNoContent)
	})
	for name, request := range map[string]string{
		"a length":          "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome",
		"chunks":            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
		"nothing":           "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"no end of trailer": "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n0\r\na: b",
	} {
		dial(t, s, request)
		// net/http calls a trailer that does not come "suspiciously long".
		if err := within(t, read, name); !errors.Is(err, os.ErrDeadlineExceeded) &&
			(err == nil || !strings.Contains(err.Error(), "trailer")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBytesNowAndThen sends a byte before each deadline. This does not count as progress.
func TestBytesNowAndThen(t *testing.T) {
	read := make(chan error, 1)
	s := paced(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	})
	c := dial(t, s, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
	go func() {
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(stall / 20)
		}
	}()
	if err := within(t, read, "a byte now and then"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestSlowHandlers makes sure that only the client's time counts, and that waiting for it ends with
// its body.
func TestSlowHandlers(t *testing.T) {
	s := paced(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * stall)
		data, err := io.ReadAll(r.Body)
		time.Sleep(2 * stall)
		if r.Context().Err() != nil {
			t.Error("the client counts as gone")
		}
		fmt.Fprint(w, len(data), " ", err)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(2 * stall)
		fmt.Fprint(w, " done")
		time.Sleep(2 * stall) // net/http sends the end
	})
	client := &http.Client{}
	for range 2 { // on one connection
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL,
			strings.NewReader(strings.Repeat("x", 100_000)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Expect", "100-continue")
		got, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		if string(body) != "100000 <nil> done" || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
		_ = got.Body.Close()
		time.Sleep(2 * stall) // a connection may be idle for longer
	}
}

// TestUnreadBodies makes sure that answers do not wait for a body that the handler does not read.
func TestUnreadBodies(t *testing.T) {
	slow := httptest.NewServer(
		api.Paced(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "answer") }), time.Hour))
	t.Cleanup(slow.Close)
	for _, method := range []string{"GET", "DELETE", "POST"} {
		for name, head := range map[string]string{"a length": "Content-Length: 1000\r\n\r\nsome",
			"chunks": "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"} {
			c := dial(t, slow, method+" / HTTP/1.1\r\nHost: x\r\n"+head)
			done := make(chan string, 1)
			go func() {
				all, err := io.ReadAll(c) // to the end of the connection
				done <- fmt.Sprint(string(all), err)
			}()
			if got := within(t, done, method+" with "+name); !strings.HasPrefix(got, "HTTP/1.1 200 OK") ||
				!strings.Contains(got, "answer") {
				t.Errorf("%s with %s: %q", method, name, got)
			}
		}
	}
	// A body that has arrived is read, and the connection stays open.
	c := dial(t, slow, strings.Repeat("DELETE / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nsome", 3))
	in := bufio.NewReader(c)
	for range 3 {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); string(body) != "answer" || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
	}
}

// TestAnswersThatNobodyReads demands that every way to write an answer ends.
func TestAnswersThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 30
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"pieces": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
					return
				}
			}
		},
		"at once": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 256<<20)) },
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			for {
				_, _ = io.WriteString(w, "data: x\n\n")
				if http.NewResponseController(w).Flush() != nil {
					return
				}
			}
		},
		"a file": func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) },
		"copied": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, &zeros{}) },
	} {
		ended := make(chan bool, 1)
		s := paced(t, func(w http.ResponseWriter, r *http.Request) {
			answer(w, r)
			ended <- true
		})
		dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		within(t, ended, name)
	}
}

type zeros struct{}

func (*zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestLargeAnswersAreWhole reads a file, a part of it, and a stream.
func TestLargeAnswersAreWhole(t *testing.T) {
	content := make([]byte, 1<<20+7)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := paced(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			f, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			http.ServeContent(w, r, "", time.Time{}, f)
		case "/copy":
			n, err := io.Copy(w, bytes.NewBuffer(content))
			if n != int64(len(content)) || err != nil {
				t.Errorf("copied %d, %v", n, err)
			}
		default:
			n, err := w.Write(content)
			if n != len(content) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		}
	})
	for _, path := range []string{"/file", "/copy", "/write"} {
		if got, err := get(t, s.URL+path); got != string(content) || err != nil {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/file", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=5-900004")
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); !bytes.Equal(body, content[5:900_005]) || err != nil {
		t.Errorf("a part: %d bytes, %v", len(body), err)
	}
}

// TestHandlersDeadlines makes sure that the earlier of two deadlines holds.
func TestHandlersDeadlines(t *testing.T) {
	read := make(chan error, 1)
	s := httptest.NewServer(api.Paced(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(stall)); err != nil {
			t.Error(err)
		}
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	}), time.Hour))
	t.Cleanup(s.Close)
	dial(t, s, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	if err := within(t, read, "a deadline of the handler's"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
