package api

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// A client must move so many bytes within the stall time. If less counted as progress, a client
// that sends a byte now and then could hold a connection, and the memory of its request, for ever.
const (
	leastRead = 16 << 10
	mostWrite = 128 << 10 // of an answer at a time; each part gets the full time
)

// linger is how long the server waits for the rest of a body that the handler has not read when the
// answer begins.
const linger = time.Second

// Paced returns a handler that gives clients the time stall for each part of a request's body and
// of its answer. Deadlines that h sets with http.ResponseController hold as well.
func Paced(h http.Handler, stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &pacer{ResponseWriter: w, control: http.NewResponseController(w), stall: stall}
		p.beforeWrite()
		if r.Body != nil && r.Body != http.NoBody {
			p.body = &pacedBody{ReadCloser: r.Body, pacer: p, left: stall, waits: r.Header.Get("Expect") != ""}
			p.setRead(time.Now().Add(stall)) // net/http may read what h does not
			r = r.WithContext(r.Context())   // net/http looks at the body of its own request
			r.Body = p.body
		}
		h.ServeHTTP(p, r)
		p.beforeWrite() // net/http sends the end of the answer, and reads on for a while
		if p.body != nil && !p.body.isOver() {
			p.setRead(time.Now().Add(linger))
		}
	})
}

// pacer is the answer to one request, with its deadlines.
type pacer struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	body    *pacedBody // nil without a body

	mu        sync.Mutex
	readEnd   time.Time // set by the handler
	writeEnd  time.Time
	duplex    bool
	answering bool
	status    int // of the answer; 0 until it begins
}

// Status is the status of the answer: 200 unless the handler has set another.
func (p *pacer) Status() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.status, http.StatusOK)
}

// Unwrap is for http.ResponseController.
func (p *pacer) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// EnableFullDuplex lets the answer begin while the body is still read.
func (p *pacer) EnableFullDuplex() error {
	p.mu.Lock()
	p.duplex = true
	p.mu.Unlock()
	return p.control.EnableFullDuplex()
}

// SetReadDeadline bounds the reading of the body as a whole.
func (p *pacer) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	p.readEnd = t
	p.mu.Unlock()
	return p.control.SetReadDeadline(t)
}

// SetWriteDeadline bounds the writing of the answer as a whole.
func (p *pacer) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	p.writeEnd = t
	p.mu.Unlock()
	return p.control.SetWriteDeadline(t)
}

// setRead sets the deadline of the next read, unless an earlier one is set. It ignores an error:
// only connections of tests have no deadlines.
func (p *pacer) setRead(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.control.SetReadDeadline(earlier(t, p.readEnd))
}

func (p *pacer) beforeWrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.control.SetWriteDeadline(earlier(time.Now().Add(p.stall), p.writeEnd))
}

// beforeAnswer bounds how long net/http waits for the rest of a body that h did not read. net/http
// reads it before it sends an answer.
func (p *pacer) beforeAnswer() {
	p.mu.Lock()
	wait := p.body != nil && !p.answering && !p.duplex
	p.answering = true
	p.mu.Unlock()
	if wait && !p.body.isOver() {
		p.setRead(time.Now().Add(linger))
	}
}

func earlier(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// WriteHeader implements http.ResponseWriter.
func (p *pacer) WriteHeader(status int) {
	if status >= http.StatusOK {
		p.beforeAnswer()
		p.mu.Lock()
		if p.status == 0 {
			p.status = status
		}
		p.mu.Unlock()
	}
	p.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (p *pacer) Write(data []byte) (n int, err error) {
	p.beforeAnswer()
	for {
		p.beforeWrite()
		k, err := p.ResponseWriter.Write(data[n:min(n+mostWrite, len(data))])
		if n += k; err != nil || n == len(data) {
			return n, err
		}
	}
}

// FlushError is for http.ResponseController.
func (p *pacer) FlushError() error {
	p.beforeAnswer()
	p.beforeWrite()
	return p.control.Flush()
}

// ReadFrom implements io.ReaderFrom, so that the kernel sends files, also when they are sent in
// parts.
func (p *pacer) ReadFrom(r io.Reader) (n int64, err error) {
	to, ok := p.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	p.beforeAnswer()
	all, bounded := r.(*io.LimitedReader) // net/http unwraps one LimitedReader to use sendfile, but not two
	if !bounded {
		all = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	for all.N > 0 {
		p.beforeWrite()
		piece := &io.LimitedReader{R: all.R, N: min(all.N, mostWrite)}
		want := piece.N
		k, err := to.ReadFrom(piece)
		n += k
		all.N -= k
		if err != nil || k < want {
			return n, err
		}
	}
	return n, nil
}

// pacedBody is a request's body. Only the time counts during which the server waits for the client.
type pacedBody struct {
	io.ReadCloser
	pacer *pacer
	waits bool // the client waits for 100 Continue

	mu   sync.Mutex
	left time.Duration // until leastRead bytes must have arrived
	got  int
	over bool
}

func (b *pacedBody) Read(data []byte) (int, error) {
	if b.waits {
		b.pacer.beforeWrite() // net/http sends 100 Continue
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	begun := time.Now()
	b.pacer.setRead(begun.Add(b.left))
	n, err := b.ReadCloser.Read(data)
	b.left -= time.Since(begun)
	if b.got += n; b.got >= leastRead {
		b.got, b.left = 0, b.pacer.stall
	}
	switch {
	case errors.Is(err, io.EOF):
		b.over = true
		// From here on net/http watches for the connection to close. A deadline that expires would look
		// like that.
		_ = b.pacer.control.SetReadDeadline(time.Time{})
	case err != nil:
		b.left = 0 // so that net/http does not wait for the rest either
	}
	return n, err
}

// isOver reports whether the body was read to its end. It is false while another goroutine reads.
func (b *pacedBody) isOver() bool {
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return b.over
}
