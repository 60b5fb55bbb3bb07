package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go-job-orchestrator/shared/job"
)

// errStalled is why a request to a bucket was given up. The clients of clouds have no limits of
// their own, or try for ever.
var errStalled = fmt.Errorf("the bucket does not answer: %w", job.ErrUnavailable)

// within is ctx for as long as the bucket may take.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, errStalled)
}

// causeOf is err, or what ended its context if that was ours.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		return fmt.Errorf("%w (%v)", cause, err) //nolint:errorlint // a cancelled context, for which nobody is to take it
	}
	return err
}

// watch ends its context when the bucket takes too long. It runs while the bucket is at work, and
// not while others are.
type watch struct {
	timer  *time.Timer
	cancel context.CancelCauseFunc
	stall  time.Duration
}

func newWatch(ctx context.Context, stall time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{cancel: cancel, stall: stall, timer: time.AfterFunc(stall, func() { cancel(errStalled) })}
	return ctx, w
}

func (w *watch) start(d time.Duration) { w.timer.Reset(d) }

func (w *watch) stop() { w.timer.Stop() }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// watchedSource is what the bucket's client reads from: while it does, the sender is at work.
type watchedSource struct {
	io.Reader
	watch *watch
	err   error // of the reader
}

func (s *watchedSource) Read(p []byte) (int, error) {
	s.watch.stop()
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	s.watch.start(s.watch.stall)
	return n, err
}

// watchedReader is read from the bucket.
type watchedReader struct {
	io.Reader
	watch *watch
	ctx   context.Context //nolint:containedctx // that of the request that is read
}

func (r *watchedReader) Read(p []byte) (int, error) {
	r.watch.start(r.watch.stall)
	n, err := r.Reader.Read(p)
	r.watch.stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = causeOf(r.ctx, err)
	}
	return n, err
}

func (r *watchedReader) Close() error {
	r.watch.end()
	if c, ok := r.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
