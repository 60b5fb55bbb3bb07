package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// signals returns the signals that end a command in an orderly way. They are not delivered to gojob
// otherwise until stop is called. What was ignored when gojob began stays ignored, as nohup wants it.
// Writing to a closed pipe is an error from now on, and no signal.
func (a *app) signals() (signals <-chan os.Signal, stop func()) {
	list := []os.Signal{syscall.SIGTERM}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			list = append(list, s)
		}
	}
	c := make(chan os.Signal, 4)
	signal.Notify(c, list...)
	signal.Ignore(syscall.SIGPIPE)
	return c, func() { signal.Stop(c) }
}

// exitPipe is what a shell says of a program that wrote to a closed pipe: 128 and SIGPIPE.
const exitPipe = 141

// pipeClosed reports whether nobody reads our output any more.
func pipeClosed(err error) bool {
	if errors.Is(err, syscall.EPIPE) {
		return true
	}
	const brokenPipe, noData = syscall.Errno(109), syscall.Errno(232) // of Windows
	return runtime.GOOS == "windows" && (errors.Is(err, brokenPipe) || errors.Is(err, noData))
}

// interruptError is the end of a command by a signal.
type interruptError struct{ signal os.Signal }

func (e *interruptError) Error() string { return "interrupted (" + e.signal.String() + ")" }

// interruptible returns a context that ends with an *interruptError when a signal comes.
func (a *app) interruptible(ctx context.Context) (_ context.Context, release func()) {
	signals, stopSignals := a.signals()
	ctx, stop := (&session{signals: signals}).untilSignal(ctx)
	return ctx, func() { stop(); stopSignals() }
}

// untilSignal returns a context that ends with an *interruptError when one of the signals of a session
// comes.
func (s *session) untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case signal := <-s.signals:
			cancel(&interruptError{signal})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
