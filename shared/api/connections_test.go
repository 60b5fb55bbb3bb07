package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go-job-orchestrator/shared/api"
)

// bounded serves h to at most so many connections at a time.
func bounded(t *testing.T, h http.HandlerFunc, most int) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s := &api.Server{Log: quiet(), Wait: time.Minute, Drain: func() {}, MaxConnections: most}
	go func() { ended <- s.Serve(ctx, ln, h) }()
	t.Cleanup(func() {
		cancel()
		if err := within(t, ended, "the end of the server"); err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// client is one connection.
type client struct {
	net.Conn
	in *bufio.Reader
}

func connect(t *testing.T, address string) *client {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

// ask sends a request, and returns the answer's body.
func (c *client) ask() (string, error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

// TestIdleConnectionsMakePlace opens more and more connections. The server must close those that
// have been idle for longest.
func TestIdleConnectionsMakePlace(t *testing.T) {
	address := bounded(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }, 4)
	var clients []*client
	for i := range 20 {
		c := connect(t, address)
		answered := make(chan string, 1)
		go func() {
			got, err := c.ask()
			answered <- fmt.Sprint(got, err)
		}()
		if got := within(t, answered, fmt.Sprintf("connection %d", i)); got != "ok<nil>" {
			t.Fatalf("connection %d: %s", i, got)
		}
		clients = append(clients, c)
	}
	if _, err := clients[0].in.ReadByte(); err == nil {
		t.Error("the oldest connection is still open")
	}
	if got, err := clients[19].ask(); got != "ok" || err != nil {
		t.Errorf("the newest connection: %q, %v", got, err)
	}
}

// TestBusyConnectionsStay fills all places with requests that take long.
func TestBusyConnectionsStay(t *testing.T) {
	const most = 3
	began, goOn := make(chan struct{}), make(chan struct{})
	address := bounded(t, func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-goOn
		fmt.Fprint(w, "ok")
	}, most)
	answers := make(chan string)
	for range most + 2 {
		c := connect(t, address)
		go func() {
			got, err := c.ask()
			answers <- fmt.Sprint(got, err)
		}()
	}
	for range most {
		within(t, began, "requests that have a place")
	}
	select {
	case <-began:
		t.Error("there are more requests than places")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	go func() {
		for range 2 {
			<-began
		}
	}()
	for range most + 2 {
		if got := within(t, answers, "an answer"); got != "ok<nil>" {
			t.Errorf("got %s", got)
		}
	}
}

// TestFullServersStop makes sure that a server without a free connection can stop.
func TestFullServersStop(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s := &api.Server{Log: quiet(), Wait: time.Minute, Drain: func() {}, MaxConnections: 1}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-api.Stopping(r.Context())
		fmt.Fprint(w, "ok")
	})
	go func() { ended <- s.Serve(ctx, ln, h) }()
	c := connect(t, ln.Addr().String())
	answer := make(chan string, 1)
	go func() {
		got, err := c.ask()
		answer <- fmt.Sprint(got, err)
	}()
	within(t, began, "the request")
	cancel()
	if got := within(t, answer, "the answer"); got != "ok<nil>" {
		t.Errorf("got %s", got)
	}
	if err := within(t, ended, "the end of the server"); err != nil {
		t.Error(err)
	}
}
