//go:build s3 && gs && azblob

package buckets

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// proxy stands before a server, counts requests, and has some of them go wrong.
type proxy struct {
	*httptest.Server
	count atomic.Int64
	fault atomic.Pointer[fault]
}

// fault is how requests go wrong.
type fault struct {
	// applies tells which do.
	applies func(r *http.Request) bool
	// times bounds how many do; 0: all.
	times int64
	// answer goes out in place of the server's, which gets the request all the same unless unsent.
	answer func(w http.ResponseWriter, r *http.Request)
	unsent bool
	// cut ends the connection after that many bytes of the request's body.
	cut int64
	// stuck lets the head of the server's answer through, and nothing after it.
	stuck bool
	// silent has no answer at all.
	silent bool

	hits atomic.Int64
	over chan struct{} // closed when requests go right again
}

// newProxy stands before a server, which sees the proxy's own name if that is signed.
func newProxy(server string, signed bool) *proxy {
	target := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: server})
			if signed {
				r.Out.Host = r.In.Host
			}
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.count.Add(1)
		f := p.fault.Load()
		if f == nil || !f.applies(r) || f.hits.Add(1) > f.times && f.times > 0 {
			target.ServeHTTP(w, r)
			return
		}
		f.spoil(target, w, r)
	}))
	return p
}

// spoil makes one request fail.
func (f *fault) spoil(target http.Handler, w http.ResponseWriter, r *http.Request) {
	if f.cut > 0 {
		_, _ = io.CopyN(io.Discard, r.Body, f.cut)
		panic(http.ErrAbortHandler)
	}
	real := httptest.NewRecorder()
	if !f.unsent {
		target.ServeHTTP(real, r)
	}
	switch {
	case f.silent:
		f.wait(r)
		return
	case !f.stuck:
		f.answer(w, r)
		return
	}
	maps.Copy(w.Header(), real.Header())
	w.Header().Set("Content-Length", strconv.Itoa(real.Body.Len()))
	w.WriteHeader(real.Code)
	_ = http.NewResponseController(w).Flush()
	f.wait(r)
}

// wait waits until the client goes away, which is noticed only if the request's body was read.
func (f *fault) wait(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-f.over:
	}
}

func (p *proxy) address() string { return strings.TrimPrefix(p.URL, "http://") }

// wrong makes requests fail until the function that it returns is called.
func (p *proxy) wrong(f *fault) (right func()) {
	f.over = make(chan struct{})
	p.fault.Store(f)
	return sync.OnceFunc(func() {
		p.fault.Store(nil)
		close(f.over)
	})
}

// isWrite finds the requests that store something.
func isWrite(r *http.Request) bool {
	return r.Method == http.MethodPut || r.Method == http.MethodPost && r.URL.Query().Has("uploadType")
}

func always(*http.Request) bool { return true }

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// status answers with an error.
func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// refusal answers with an error of S3.
func refusal(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>refused</Message></Error>", code)
	}
}
