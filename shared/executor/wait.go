package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go-job-orchestrator/shared/job"
)

type exited struct {
	exit Exit
	err  error
}

// wait waits for the program, and ends it when ctx does.
func wait(ctx context.Context, p Process, grace time.Duration, removed <-chan struct{}) (Exit, error) {
	done := make(chan exited, 1)
	go func() {
		exit, err := p.Wait()
		done <- exited{exit, err}
	}()
	select {
	case e := <-done:
		return e.exit, e.err
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	e, err := end(p, grace, removed, done)
	if err != nil {
		return Exit{}, err
	}
	return stopped(e.exit, cause), e.err
}

// end asks the program to end, and after the grace ends it with all it has started.
func end(p Process, grace time.Duration, removed <-chan struct{}, done <-chan exited) (exited, error) {
	_ = p.Terminate() // one that cannot be asked is killed below
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case e := <-done:
		return e, nil
	case <-timer.C:
	case <-removed:
	}
	if err := p.Kill(); err != nil {
		return exited{}, fmt.Errorf("kill: %w", err)
	}
	return <-done, nil
}

// stopped gives an exit the reason for which we ended the program.
func stopped(e Exit, cause error) Exit {
	switch {
	case errors.Is(cause, ErrCancelled):
		e.Reason, e.Message = job.ReasonCancelled, "cancelled by its user"
	case errors.Is(cause, ErrDeadline):
		e.Reason, e.Message = job.ReasonDeadlineExceeded, "the job ran longer than its timeoutSeconds"
	default:
		e.Reason, e.Message = job.ReasonInterrupted, "the server was stopped while the program ran"
	}
	return e
}
