package cli

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
)

// The exit codes of commands other than run.
const (
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNotAllowed  = 4
	exitUnreachable = 5
)

// The exit codes of run that are not the program's.
const (
	exitDeadline    = 124
	exitPlatform    = 125 // the fault of the platform or the network, or the job was refused
	exitInterrupted = 130
	exitMemory      = 137
)

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exitCodeError ends gojob with a code. err is nil when all was said already.
type exitCodeError struct {
	code int
	err  error
}

func (e *exitCodeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitCodeError) Unwrap() error { return e.err }

// finish says what went wrong and returns the exit code.
func (a *app) finish(command *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	var coded *exitCodeError
	if !errors.As(err, &coded) || coded.err != nil {
		a.explain(command, err)
	}
	if coded != nil {
		return coded.code
	}
	return codeOf(err)
}

// explain prints an error with what to do about it.
func (a *app) explain(command *cobra.Command, err error) {
	fmt.Fprintf(a.stderr, "gojob: %s\n", err)
	var answer *client.Error
	if errors.As(err, &answer) {
		for _, fault := range answer.Faults {
			fmt.Fprintf(a.stderr, "  %s: %s\n", fault.Field, fault.Message)
		}
	}
	var usage *usageError
	if errors.As(err, &usage) && command != nil {
		fmt.Fprintf(a.stderr, "try: %s --help\n", command.CommandPath())
	}
}

// codeOf is the exit code of every command but run.
func codeOf(err error) int {
	var usage *usageError
	var unreachable *client.UnreachableError
	var answer *client.Error
	var noJob *noJobError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &noJob):
		return exitNotFound
	case errors.As(err, &unreachable):
		return exitUnreachable
	case errors.As(err, &answer):
		return codeOfStatus(answer.Status)
	}
	return exitError
}

func codeOfStatus(status int) int {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return exitNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitNotAllowed
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitUnreachable
	}
	return exitError
}
