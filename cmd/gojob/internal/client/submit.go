package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/shared/job"
)

// Accepted is the answer to a submit.
type Accepted struct {
	JobID    job.ID        `json:"jobID"`
	Token    string        `json:"token"`
	Phase    job.Phase     `json:"phase"`
	Inferred *job.Inferred `json:"inferred"`
	Warnings []string      `json:"warnings"`
	// Raw is the answer as it was sent.
	Raw json.RawMessage `json:"-"`
}

// SubmitOptions say how a form is sent.
type SubmitOptions struct {
	// Key is the Idempotency-Key, the same for each try; see NewKey.
	Key string
	// Header is sent besides, such as Prefer. It may be nil.
	Header http.Header
	// Progress is called with the number of bytes that were sent, from the start at each try. It may
	// be nil. It is called by one goroutine at a time.
	Progress func(sent int64)
	// Retrying is called before each pause after a try that failed. It may be nil.
	Retrying func(err error, pause time.Duration)
	// Patience is how long to try without a byte being sent; 0 for DefaultPatience.
	Patience time.Duration
}

// maxCuts is how often a form is sent again after some of it was sent. A line that cuts off each
// upload will cut off the next one as well.
const maxCuts = 30

// NewKey returns a random Idempotency-Key. Where everybody is the same caller the key is a secret, so
// it must not be guessed.
func NewKey() string { return uuid.NewString() }

// UnsureError says that a form was sent whole and no answer came, so that there may be a job. The
// same form with the same key finds out, within a day.
type UnsureError struct {
	Key string
	Err error
}

func (e *UnsureError) Error() string {
	return fmt.Sprintf("%s; the job may have been accepted all the same: see gojob ls", e.Err)
}

func (e *UnsureError) Unwrap() error { return e.Err }

// Submit sends a form to a path that makes a job, such as /api/v1/jobs. It tries again after cut
// connections and answers that say so; the key makes that one job. A server that nothing could be
// sent to is not waited for. The error is an *UnsureError if there may be a job, a *form.LocalError if
// a file could not be read, or one of Do.
func (c *Client) Submit(ctx context.Context, path string, f *form.Form, o SubmitOptions) (Accepted, error) {
	return c.send(ctx, http.MethodPost, path, f, o)
}

// Put sends a form to a path that keeps it, such as /api/v1/templates/resize, like Submit. It returns
// the answer as it was sent.
func (c *Client) Put(ctx context.Context, path string, f *form.Form, o SubmitOptions) (json.RawMessage, error) {
	accepted, err := c.send(ctx, http.MethodPut, path, f, o)
	var unsure *UnsureError
	if errors.As(err, &unsure) {
		err = unsure.Err // who tries again gets another version, which is the same
	}
	return accepted.Raw, err
}

func (c *Client) send(
	ctx context.Context, method, path string, f *form.Form, o SubmitOptions,
) (Accepted, error) {
	length, err := f.Length()
	if err != nil {
		return Accepted{}, err
	}
	s := &submit{c: c, method: method, path: path, form: f, length: length, o: o}
	retry := Retry{Patience: o.Patience, Said: o.Retrying}
	for {
		accepted, sent, err := s.try(ctx)
		if err == nil {
			return accepted, nil
		}
		if sent > 0 {
			retry.Moved()
			s.cuts++
		}
		if s.cuts > maxCuts || !retry.Again(ctx, err) {
			return Accepted{}, s.explain(ctx, err)
		}
	}
}

// submit is a form on its way.
type submit struct {
	c      *Client
	method string
	path   string
	form   *form.Form
	length int64 // -1 if it is not known
	o      SubmitOptions
	unsure bool // a try has sent all, and got no answer that says that there is no job
	cuts   int  // tries that sent something
}

// Bounds of one try.
const (
	// stall is how long a line may take no byte. A connection that died while the machine slept would
	// otherwise be waited for as long as the kernel does, which is a quarter of an hour.
	stall = time.Minute
	// answerTimeout bounds the wait for the answer to a form that was sent whole.
	answerTimeout = 5 * time.Minute
	// expectBytes is from which size on the server is asked before, so that one that refuses gets none
	// of it.
	expectBytes = 1 << 20
)

var errStalled = errors.New("the line took no more bytes, or the server did not answer")

// try sends the form once. It returns how many bytes of it were sent.
func (s *submit) try(ctx context.Context) (accepted Accepted, sent int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := &progress{ReadCloser: s.form.Body(ctx), length: s.length, said: s.o.Progress}
	defer body.Close()
	done := make(chan struct{})
	defer close(done)
	go body.watch(cancel, done)
	header := http.Header{"Content-Type": {s.form.ContentType()}, "Idempotency-Key": {s.o.Key}}
	for name, values := range s.o.Header {
		header[name] = values
	}
	if s.length < 0 || s.length >= expectBytes {
		header.Set("Expect", "100-continue")
	}
	accepted.Raw, err = s.c.JSON(ctx, Call{
		Method: s.method, Path: s.path, Body: body, Length: max(s.length, 0), Header: header,
	}, &accepted)
	var local *form.LocalError
	if errors.As(err, &local) {
		return accepted, body.sent.Load(), local
	}
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		err = &UnreachableError{Server: s.c.Server(), Err: errStalled}
	}
	if err != nil {
		s.unsure = s.unsure || body.ended.Load() && isUnsure(ctx, err)
		return accepted, body.sent.Load(), err
	}
	if _, err := job.ParseID(string(accepted.JobID)); err != nil && s.method == http.MethodPost {
		return accepted, 0, fmt.Errorf("%s does not answer as a server of the Go Job Orchestrator does: the answer has "+
			"no job; try: gojob doctor", s.c.Server())
	}
	return accepted, 0, nil
}

// isUnsure reports whether a try that sent all may have made a job, in spite of its error.
func isUnsure(ctx context.Context, err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.Status >= http.StatusInternalServerError
	}
	var unreachable *UnreachableError
	return errors.As(err, &unreachable) || ctx.Err() != nil
}

// watch ends a try in which nothing moves.
func (p *progress) watch(cancel context.CancelCauseFunc, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, since := int64(-1), time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		limit := stall
		if p.ended.Load() {
			limit = answerTimeout
		}
		if sent := p.sent.Load(); sent != last {
			last, since = sent, time.Now()
		} else if time.Since(since) > limit {
			cancel(errStalled)
			return
		}
	}
}

// progress tells how far a body was sent.
type progress struct {
	io.ReadCloser
	length int64
	said   func(sent int64)
	sent   atomic.Int64
	ended  atomic.Bool
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	sent := p.sent.Add(int64(n))
	if errors.Is(err, io.EOF) || p.length >= 0 && sent >= p.length {
		p.ended.Store(true)
	}
	if n > 0 && p.said != nil {
		p.said(sent)
	}
	return n, err
}

// explain adds what only the earlier tries show.
func (s *submit) explain(ctx context.Context, err error) error {
	var answer *Error
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch {
	case !s.unsure:
		return err
	case errors.As(err, &answer) && answer.names("Idempotency-Key"):
		return fmt.Errorf("a file changed between two tries, and an earlier one was accepted (see gojob ls): %w", err)
	case answer != nil && answer.Status < http.StatusInternalServerError:
		return err
	}
	return &UnsureError{Key: s.o.Key, Err: err}
}
