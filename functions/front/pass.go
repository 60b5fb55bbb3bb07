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

// pass has a request answered by proxy. A function may refuse a request that is still being sent;
// its client gets to read why all the same.
func pass(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		proxy.ServeHTTP(w, r)
		return
	}
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 always is
	b := &body{inner: r.Body}
	// A copy: net/http looks at the body of its own request to know whether the client waits to be
	// told to send it.
	sent := r.WithContext(context.WithValue(r.Context(), bodyKey{}, b))
	sent.Body = b
	proxy.ServeHTTP(w, sent)
	_ = b.Close()
	if !b.done.Load() {
		api.Discard(w, r, readerFunc(b.discard), b.begun.Load())
	}
}

// bodyKey is where a request's context has its body, which the proxy wraps.
type bodyKey struct{}

// body is that of a request on its way to a function. The transport reads it in a goroutine of its
// own, which may outlast the answer, so it can be taken away from it.
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

// discard reads on once the transport is done with it.
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

// errForeign is an answer that is none of ours.
var errForeign = errors.New("answered by something else than the function")

// known lets the answers of functions pass. Their errors are problems; a page that says "no healthy
// upstream" or "not found" comes from a proxy that does not reach the function.
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

// explain tells a client's fault from that of what is behind.
func explain(r *http.Request, err error) error {
	if b, ok := r.Context().Value(bodyKey{}).(*body); ok && b.failed.Load() {
		return api.BadRequest("body", "could not be read to its end")
	}
	return fmt.Errorf("%w: %w", job.ErrUnavailable, err)
}
