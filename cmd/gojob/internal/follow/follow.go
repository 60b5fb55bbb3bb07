// Package follow reads the log of a job as it is written, and goes on where it was after every cut
// of the connection.
package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"sync/atomic"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
)

// Caller makes calls of the API. It is a *client.Client.
type Caller interface {
	Do(ctx context.Context, call client.Call) (*http.Response, error)
	Server() string // its URL, for messages
}

// Options bound how long a follower waits. The zero value has the usual bounds.
type Options struct {
	// Silence is after how long without a byte a connection counts as dead. The server sends a comment
	// every 15 seconds. It is measured by the clock on the wall, so that a laptop that slept notices at
	// once. 0: 45 seconds.
	Silence time.Duration
	// GiveUp is for how long the server may be unreachable. 0: 10 minutes.
	GiveUp time.Duration
	// Reached says that the server was reached before. A server that cannot be reached at first is not
	// waited for: its name may be wrong.
	Reached bool
	// Trouble is called after each failure with the time since the server was last reached, and with
	// nil when it is reached again. It may be nil.
	Trouble func(err error, since time.Duration)
}

// The pauses between tries grow from the first to the last.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Follower makes calls that survive a bad line.
type Follower struct {
	caller Caller
	Options
	reached atomic.Bool
}

// New returns a follower that calls by c.
func New(c Caller, o Options) *Follower {
	if o.Silence == 0 {
		o.Silence = 45 * time.Second
	}
	if o.GiveUp == 0 {
		o.GiveUp = 10 * time.Minute
	}
	f := &Follower{caller: c, Options: o}
	f.reached.Store(o.Reached)
	return f
}

// LostError says that the server was unreachable for too long.
type LostError struct {
	After time.Duration
	Err   error // the last failure
}

func (e *LostError) Error() string {
	return fmt.Sprintf("no connection for %s: %s", e.After.Round(time.Second), e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

var errSilent = errors.New("the connection is dead: nothing came")

// handlerError is an error of the code that handles events, which no other try can mend.
type handlerError struct{ err error }

func (e *handlerError) Error() string { return e.err.Error() }

// Retry calls try until it succeeds, fails for good, or the server was unreachable for too long. A
// try reports by alive that the server answers.
func (f *Follower) Retry(ctx context.Context, try func(ctx context.Context, alive func()) error) error {
	pause, reached := firstPause, time.Now()
	troubled := false
	for {
		alive := func() {
			f.reached.Store(true)
			pause, reached = firstPause, time.Now()
			if troubled && f.Trouble != nil {
				f.Trouble(nil, 0)
			}
			troubled = false
		}
		err := try(ctx, alive)
		var handler *handlerError
		switch {
		case err == nil:
			f.reached.Store(true)
			return nil
		case errors.As(err, &handler):
			return handler.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case Final(err), !f.reached.Load() && !answered(err):
			return err
		}
		since := time.Since(reached)
		if since > f.GiveUp {
			return &LostError{After: since, Err: err}
		}
		if f.Trouble != nil {
			f.Trouble(err, since)
		}
		troubled = true
		if err := sleep(ctx, max(jitter(pause), min(askedPause(err), 30*time.Second))); err != nil {
			return err
		}
		pause = min(2*pause, lastPause)
	}
}

// Final reports whether an error stays when the call is made again.
func Final(err error) bool {
	var answer *client.Error
	if !errors.As(err, &answer) {
		var unreachable *client.UnreachableError
		return !errors.As(err, &unreachable)
	}
	switch s := answer.Status; {
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		return false
	case s == http.StatusNotFound:
		// A gateway whose route to the server does not exist yet, or not now, says so in its own words.
		return answer.Problem != nil
	}
	return true
}

// answered reports whether an error is an answer, of whoever.
func answered(err error) bool {
	var answer *client.Error
	return errors.As(err, &answer)
}

func askedPause(err error) time.Duration {
	var answer *client.Error
	if errors.As(err, &answer) {
		return answer.RetryAfter
	}
	return 0
}

// jitter keeps many followers from coming again at the same moment.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // no secret
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// handler takes an event. done ends the stream.
type handler func(e event) (done bool, err error)

// events makes a call whose answer is a stream of server-sent events, again and again, until handle
// is done. Each event reaches handle once. With once, an answer that ends as it should is the last.
// reached reports whether a stream was ever begun.
func (f *Follower) events(ctx context.Context, call client.Call, once bool, handle handler) (reached bool, err error) {
	last := call.Header.Get("Last-Event-ID")
	err = f.Retry(ctx, func(ctx context.Context, alive func()) error {
		call.Header = http.Header{"Accept": {"text/event-stream"}}
		if last != "" {
			call.Header.Set("Last-Event-ID", last)
		}
		begun := func() { reached = true; alive() }
		return f.connect(ctx, call, once, begun, func(e event) (bool, error) {
			done, err := handle(e)
			if err == nil && e.id != "" {
				last = e.id
			}
			return done, err
		})
	})
	return reached, err
}

// errEnded says that the server ended a stream before the end of what it tells about, for instance
// because it stops.
var errEnded = errors.New("the server ended the connection")

func (f *Follower) connect(ctx context.Context, call client.Call, once bool, alive func(), handle handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := f.watch(ctx, cancel)
	watch.begin()
	response, err := f.caller.Do(ctx, call)
	watch.end()
	if err != nil {
		return f.unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNoContent {
		return nil // there is nothing behind the last event
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/event-stream" {
		return f.unreachable(fmt.Errorf("it answered with %q, not with events", kind))
	}
	in := newDecoder(&watchedReader{in: response.Body, watch: watch})
	for {
		e, err := in.next(alive)
		if once && errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			err = errEnded
		}
		if err != nil {
			return f.unreachable(err)
		}
		if done, err := handle(e); err != nil {
			return &handlerError{err}
		} else if done {
			return nil
		}
	}
}

// unreachable makes every error but an answer one that another try may mend.
func (f *Follower) unreachable(err error) error {
	var answer *client.Error
	var known *client.UnreachableError
	if errors.As(err, &answer) || errors.As(err, &known) {
		return err
	}
	return &client.UnreachableError{Server: f.caller.Server(), Err: err}
}
