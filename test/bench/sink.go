package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// sink starts what takes events as a Broker does, and returns its URL.
func (r *room) sink(ctx context.Context) (string, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	r.atEnd(func() error {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return "http://" + ln.Addr().String(), nil
}

// serveFunction starts a function over a storage directory, with somebody to send events to.
func (r *room) serveFunction(ctx context.Context, name, storage, key string) (*process, error) {
	sink, err := r.sink(ctx)
	if err != nil {
		return nil, err
	}
	return r.serve(ctx, spec{path: r.command(name), vars: map[string]string{"STORAGE_DIR": storage, "TOKEN_KEYS": key,
		"K_SINK": sink}})
}
