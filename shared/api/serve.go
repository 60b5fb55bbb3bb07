package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The server's limits. There is no timeout for a whole request or answer, because uploads and
// followers of logs take long. Paced has a timeout for each part.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Server says how to serve.
type Server struct {
	Log *slog.Logger
	// Wait is how long open requests may take to end when the server stops.
	Wait time.Duration
	// Drain is called before the server stops, while requests are still answered.
	Drain func()
	// MaxConnections is how many clients can be connected at a time.
	MaxConnections int
}

// Serve answers requests on the listener until ctx ends. Then it calls Drain. After that it closes
// the channel that endless streams watch (see Stopping), accepts no more requests, and waits for
// open requests to finish.
func (s *Server) Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	open := newConnections(s.MaxConnections)
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         open.changed,
		// OPTIONS * is handled like any other request, so that its Host is checked.
		DisableGeneralOptionsHandler: true,

		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, stopping.Done())
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(open.listen(ln)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.Drain()
	stop()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Wait)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		_ = server.Close()
		return fmt.Errorf("stop serving: %w", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

type stoppingKey struct{}

// Stopping returns a channel that is closed when the server is about to stop and waits only for
// open requests. Handlers that stream without end watch it. It is nil outside Serve.
func Stopping(ctx context.Context) <-chan struct{} {
	done, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return done
}
