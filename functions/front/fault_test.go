package front_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// unavailable demands a 503 that says when to try again, and nothing about the server behind the
// front.
func (w *fixture) unavailable(got *http.Response, body []byte) {
	w.t.Helper()
	w.problem(got, body, http.StatusServiceUnavailable)
	if got.Header.Get("Retry-After") == "" {
		w.t.Error("Retry-After is missing")
	}
	for _, secret := range []string{"127.0.0.1", "dial", "upstream", "refused", "EOF", "nginx", "route"} {
		if strings.Contains(string(body), secret) {
			w.t.Errorf("the answer tells of what is behind: %s", body)
		}
	}
	if !strings.Contains(w.log.String(), "request refused") {
		w.t.Error("the log does not say why")
	}
}

func TestDeadFunction(t *testing.T) {
	w := newFixture(t)
	w.servers["status"].Close()
	got, body := w.do(w.request("GET", "/api/v1/jobs", nil))
	w.unavailable(got, body)
	w.servers["submit"].Close()
	got, body = w.do(w.request("POST", "/api/v1/jobs", io.LimitReader(noise(1), 4<<20)))
	w.unavailable(got, body)
	if got, _ := w.do(w.request("GET", "/outputs/"+id, nil)); got.StatusCode != http.StatusOK {
		t.Errorf("another function: got %s", got.Status)
	}
}

func TestUnknownHost(t *testing.T) {
	w := newFixture(t)
	w.front = httptest.NewServer(w.open(map[string]string{"TOKEN_KEYS": tokenKeys, "STATUS_URL": "http://status.invalid"}))
	defer w.front.Close()
	got, body := w.do(w.request("GET", "/api/v1/jobs", nil))
	w.unavailable(got, body)
}

// TestForeignAnswers hides the pages of proxies that do not reach a function, and lets the
// functions' own errors pass.
func TestForeignAnswers(t *testing.T) {
	w := newFixture(t)
	for _, status := range []int{404, 500, 502, 503, 504} {
		for _, kind := range []string{"text/plain; charset=utf-8", "text/html", "", "application/problem+json",
			`application/problem+json; charset="utf-8"`} {
			t.Run(fmt.Sprint(status, kind), func(t *testing.T) {
				w.answer = func(rw http.ResponseWriter, r *http.Request) {
					rw.Header()["Content-Type"] = nil
					if kind != "" {
						rw.Header().Set("Content-Type", kind)
					}
					rw.WriteHeader(status)
					fmt.Fprintf(rw, `{"status":%d,"detail":"no healthy upstream"}`, status)
				}
				got, body := w.do(w.request("GET", "/api/v1/jobs/"+id, nil))
				if strings.HasPrefix(kind, "application/problem+json") {
					if got.StatusCode != status || !strings.Contains(string(body), "no healthy upstream") {
						t.Errorf("the function's own: got %s, %s", got.Status, body)
					}
					return
				}
				w.unavailable(got, body)
			})
		}
	}
	w.answer = func(rw http.ResponseWriter, r *http.Request) { http.Error(rw, "no", http.StatusTeapot) }
	if got, _ := w.do(w.request("GET", "/api/v1/jobs", nil)); got.StatusCode != http.StatusTeapot {
		t.Errorf("another status: got %s", got.Status)
	}
}

// TestSlowStart has a function that accepts connections long before it answers, as during a cold
// start.
func TestSlowStart(t *testing.T) {
	w := newFixture(t)
	var config net.ListenConfig
	ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.front = httptest.NewServer(w.open(map[string]string{"TOKEN_KEYS": tokenKeys, "SUBMIT_URL": "http://" + ln.Addr().String()}))
	defer w.front.Close()
	type result struct {
		status int
		body   string
	}
	results := make(chan result, 1)
	go func() {
		r := w.request("POST", "/api/v1/jobs", strings.NewReader("hello"))
		r.Header.Set("Expect", "100-continue")
		got, err := w.front.Client().Do(r)
		if err != nil {
			t.Error(err)
			results <- result{}
			return
		}
		defer got.Body.Close()
		body, _ := io.ReadAll(got.Body)
		results <- result{got.StatusCode, string(body)}
	}()
	select {
	case r := <-results:
		t.Fatalf("answered %v before the function was there", r)
	case <-time.After(1500 * time.Millisecond): // what a cold start takes
	}
	server := &httptest.Server{Listener: ln,
		Config: &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(rw, "got %s", body)
		})}}
	server.Start()
	defer server.Close()
	if r := await(t, "the answer", results); r.status != http.StatusOK || r.body != "got hello" {
		t.Errorf("got %+v", r)
	}
}

// TestFunctionDiesWhileItAnswers cuts the answer off: a part must not look like the whole.
func TestFunctionDiesWhileItAnswers(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		w := newFixture(t)
		w.answer = func(rw http.ResponseWriter, r *http.Request) {
			if trailer {
				rw.Header().Set("Trailer", "Log-Position")
			}
			_, _ = io.WriteString(rw, "half")
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}
		got, err := w.front.Client().Do(w.request("GET", "/api/v1/jobs/"+id+"/logs", nil))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		got.Body.Close()
		if string(body) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %q, %v; want a cut", body, err)
		}
	}
}

func TestFunctionDiesWhileItIsSent(t *testing.T) {
	w := newFixture(t)
	w.answer = func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
		panic(http.ErrAbortHandler)
	}
	got, body := w.do(w.request("POST", "/api/v1/jobs", io.LimitReader(noise(1), 32<<20)))
	w.unavailable(got, body)
}

// TestClientGoesWhileItSends demands that the function sees a body that was cut off, never a
// complete one.
func TestClientGoesWhileItSends(t *testing.T) {
	for name, head := range map[string]string{
		"length known": "Content-Length: 1000000\r\n\r\npart",
		"chunked":      "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t)
			begun, ended := make(chan string, 1), make(chan error, 1)
			w.answer = func(_ http.ResponseWriter, r *http.Request) {
				part := make([]byte, 4)
				_, _ = io.ReadFull(r.Body, part)
				begun <- string(part)
				_, err := io.Copy(io.Discard, r.Body)
				ended <- err
			}
			conn := w.dial()
			fmt.Fprintf(conn, "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\n%s", head)
			if part := await(t, "the part", begun); part != "part" {
				t.Fatalf("got %q", part)
			}
			conn.Close()
			if err := await(t, "the end", ended); err == nil {
				t.Error("the function saw an orderly end")
			}
		})
	}
}

func TestBodyThatIsNoBody(t *testing.T) {
	w := newFixture(t)
	w.answer = func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}
	got := w.raw("POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npartXX\r\nzz\r\n")
	if got.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s; it is the client's fault", got.Status)
	}
}

// TestClientGoesWhileItReads demands that the function notices it.
func TestClientGoesWhileItReads(t *testing.T) {
	w := newFixture(t)
	gone := make(chan error, 1)
	w.answer = func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "line\n")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
		gone <- r.Context().Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, err := w.front.Client().Do(w.request("GET", "/api/v1/jobs/"+id+"/logs?follow=true", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if line, err := bufio.NewReader(got.Body).ReadString('\n'); line != "line\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	cancel()
	await(t, "the function to be told", gone)
}

// TestClientGoesBeforeTheAnswer demands that the function notices it as well.
func TestClientGoesBeforeTheAnswer(t *testing.T) {
	w := newFixture(t)
	begun, gone := make(chan struct{}), make(chan struct{})
	w.answer = func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(gone)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		got, err := w.front.Client().Do(w.request("GET", "/api/v1/jobs/"+id, nil).WithContext(ctx))
		if err == nil {
			got.Body.Close()
		}
	}()
	await(t, "the request", begun)
	cancel()
	await(t, "the function to be told", gone)
}
