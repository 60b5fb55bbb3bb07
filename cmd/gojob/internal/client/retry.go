package client

import (
	"context"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"go-job-orchestrator/shared/job"
)

// DefaultPatience is how long a call is tried again while nothing gets through.
const DefaultPatience = 10 * time.Minute

// Retry decides whether to make a call again that failed, and when. It is for calls that may be made
// more than once.
type Retry struct {
	// Patience is how long to try without anything getting through; 0 for DefaultPatience.
	Patience time.Duration
	// Said is called before each pause. It may be nil.
	Said func(err error, pause time.Duration)
	// Reached says that the server answered a call before this one, so that it is waited for also if it
	// cannot be connected to.
	Reached bool

	begun  bool // something got through, so that the server is there
	alive  time.Time
	failed int // calls in a row in which nothing got through
}

// Moved says that something got through.
func (r *Retry) Moved() { r.begun, r.alive, r.failed = true, time.Now(), 0 }

// Again waits and reports true if the call should be made again after that error, which is one of
// Client.Do or of reading its answer. A server that cannot be connected to at first is not waited for.
func (r *Retry) Again(ctx context.Context, err error) bool {
	if r.alive.IsZero() {
		r.alive = time.Now()
	}
	if ctx.Err() != nil || !r.mayHelp(err) || time.Since(r.alive) > r.patience() {
		return false
	}
	r.failed++
	pause := r.backoff()
	var answer *Error
	if errors.As(err, &answer) {
		pause = max(pause, min(answer.RetryAfter, r.patience()))
	}
	if r.Said != nil {
		r.Said(err, pause)
	}
	return sleep(ctx, pause)
}

func (r *Retry) patience() time.Duration {
	if r.Patience == 0 {
		return DefaultPatience
	}
	return r.Patience
}

// mayHelp reports whether the same call may end otherwise the next time.
func (r *Retry) mayHelp(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		r.begun = true
		return answer.Temporary()
	}
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || isRefused(unreachable.Err) {
		return false
	}
	return r.begun || r.Reached || !isDial(unreachable.Err)
}

// Temporary reports whether the same request may get another answer.
func (e *Error) Temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusConflict: // the key belongs to another request that was on its way at the same time
		return e.names("Idempotency-Key")
	}
	return false
}

// names reports whether the answer finds fault with a field or header.
func (e *Error) names(field string) bool {
	return slices.ContainsFunc(e.Faults, func(f job.Fault) bool { return f.Field == field })
}

// isRefused reports whether a certificate or a name is wrong, which time does not mend.
func isRefused(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var name *net.DNSError
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) ||
		errors.As(err, &name) && name.IsNotFound
}

// isDial reports whether no connection came about.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// Pauses between tries: from a tenth of a second to a quarter of a minute.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 15 * time.Second
)

// backoff returns the next pause: twice as long each time, and of random length, so that callers that
// failed together do not come together again.
func (r *Retry) backoff() time.Duration {
	pause := min(firstPause<<min(max(r.failed-1, 0), 10), lastPause)
	return pause/2 + rand.N(pause/2) //nolint:gosec // no secret
}

// sleep waits, and reports false if the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
