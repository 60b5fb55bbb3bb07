package api

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// connections bounds the number of open connections. When all are in use, it closes the connection
// that has been idle for longest. When none is idle, new clients wait until a connection ends.
type connections struct {
	places chan struct{}

	mu      sync.Mutex
	idle    map[net.Conn]time.Time // since when
	waiting bool                   // the next connection that becomes idle is closed
}

func newConnections(most int) *connections {
	return &connections{places: make(chan struct{}, most), idle: map[net.Conn]time.Time{}}
}

// listen returns a listener with the bound.
func (c *connections) listen(ln net.Listener) net.Listener {
	return &boundListener{Listener: ln, connections: c, closed: make(chan struct{})}
}

// changed is the ConnState hook of http.Server. Connections are counted by it and not wrapped,
// because the kernel sends files only to a bare connection.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.idle, conn)
	switch state {
	case http.StateIdle:
		if c.waiting {
			c.waiting = false
			_ = conn.Close()
			return
		}
		c.idle[conn] = time.Now()
	case http.StateClosed, http.StateHijacked:
		<-c.places
	}
}

// closeIdle closes the connection that has been idle for longest. If none is idle, it has the next
// one closed that becomes idle.
func (c *connections) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest net.Conn
	for conn, since := range c.idle {
		if oldest == nil || since.Before(c.idle[oldest]) {
			oldest = conn
		}
	}
	if oldest == nil {
		c.waiting = true
		return
	}
	delete(c.idle, oldest)
	_ = oldest.Close()
}

// stopWaiting leaves the connections that become idle from now on open.
func (c *connections) stopWaiting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
}

type boundListener struct {
	net.Listener
	connections *connections
	once        sync.Once
	closed      chan struct{}
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	if err := l.await(); err != nil {
		return nil, err
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.connections.places
	}
	return conn, err
}

// await waits for a place.
func (l *boundListener) await() error {
	c := l.connections
	select {
	case c.places <- struct{}{}:
		return nil
	default:
	}
	c.closeIdle()
	defer c.stopWaiting()
	select {
	case c.places <- struct{}{}:
		return nil
	case <-l.closed:
		return net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *boundListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
