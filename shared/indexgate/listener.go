package indexgate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Listener offers the gate on a loopback address of this machine, to those who know a path that
// nobody can guess, until it is closed.
type Listener struct {
	Gate *Gate

	mu    sync.Mutex
	base  string
	paths map[string]bool
	http  *http.Server
}

// headerTimeout bounds how long a client may take to send the headers of a request.
const headerTimeout = 10 * time.Second

// Open returns the base of the gate's addresses for one installation, which are valid until closed is
// called.
func (l *Listener) Open() (base string, closed func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.http == nil {
		if err := l.listen(); err != nil {
			return "", nil, fmt.Errorf("offer the package indexes to an installation: %w", err)
		}
	}
	path := rand.Text()
	l.paths[path] = true
	return l.base + "/" + path, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.paths, path)
	}, nil
}

func (l *Listener) listen() error {
	var config net.ListenConfig
	ln, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.base, l.paths = "http://"+ln.Addr().String(), map[string]bool{}
	server := &http.Server{Handler: l, ReadHeaderTimeout: headerTimeout}
	l.http = server
	go func() {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			l.Gate.log.Error("package indexes not offered to installations any more", "error", err)
		}
	}()
	return nil
}

// ServeHTTP implements http.Handler.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	l.mu.Lock()
	known, base := l.paths[path], l.base
	l.mu.Unlock()
	if !known {
		http.NotFound(w, r)
		return
	}
	l.Gate.Serve(w, r, base+"/"+path, "/"+rest)
}

// Close ends all of it.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.http == nil {
		return nil
	}
	return l.http.Close()
}
