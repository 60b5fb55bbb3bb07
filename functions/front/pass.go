package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"sync/atomic"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
)

// pass lets proxy answer a request. A function may refuse a request while it is still being sent,
// and the client can read the reason.
func pass(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		proxy.ServeHTTP(w, r)
		return
	}
	_ = http.NewResponseController(w).EnableFullDuplex() // an error is ignored: HTTP/2 is always full duplex
	b := &body{inner: r.Body}
	// The request is copied, because net/http looks at the body of its own request to know whether the
	// client waits for 100 Continue.
	sent := r.WithContext(context.WithValue(r.Context(), bodyKey{}, b))
	sent.Body = b
	proxy.ServeHTTP(w, sent)
	_ = b.Close()
	if !b.done.Load() {
		api.Discard(w, r, readerFunc(b.discard), b.begun.Load())
	}
}

// bodyKey is the key of the request's body in its context, because the proxy wraps the body itself.
type bodyKey struct{}

// body is the body of a request on its way to a function. The transport reads it in a goroutine
// that may outlast the answer. Close stops that reading.
type body struct {
	mu    sync.Mutex // held while reading
	inner io.ReadCloser

	begun, closed, done, failed atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.read(p)
}

// Close ends the transport's reading. The server closes the body itself.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// discard reads the rest after the transport has stopped.
func (b *body) discard(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read(p)
}

func (b *body) read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.inner.Read(p)
	if err != nil {
		b.failed.Store(!errors.Is(err, io.EOF))
		b.done.Store(true)
	}
	return n, err
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// errForeign is the error for an answer that does not come from a function.
var errForeign = errors.New("the answer does not come from the function")

// known lets only the answers of functions pass. Their errors are problem details. A page such as
// "no healthy upstream" or "not found" comes from a proxy that does not reach the function.
func known(answer *http.Response) error {
	if answer.StatusCode != http.StatusNotFound && answer.StatusCode < http.StatusInternalServerError {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err == nil &&
		kind == "application/problem+json" {
		return nil
	}
	return fmt.Errorf("%w: %s", errForeign, answer.Status)
}

// explain separates a failure of the client from a failure behind the front.
func explain(r *http.Request, err error) error {
	if b, ok := r.Context().Value(bodyKey{}).(*body); ok && b.failed.Load() {
		return api.BadRequest("body", "could not be read completely")
	}
	return fmt.Errorf("%w: %w", job.ErrUnavailable, err)
}
