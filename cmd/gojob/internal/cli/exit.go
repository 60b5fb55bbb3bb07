package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

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
	if command != nil && wantsJSON(command) {
		fmt.Fprintf(a.stderr, "%s\n", document(err))
		return
	}
	for _, one := range faultsIn(err) {
		a.explainOne(command, one)
	}
}

// faultsIn are the errors that were joined.
func faultsIn(err error) []error {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return several.Unwrap()
	}
	return []error{err}
}

func (a *app) explainOne(command *cobra.Command, err error) {
	var answer *client.Error
	if text := err.Error(); errors.As(err, &answer) && len(answer.Faults) > 1 {
		fmt.Fprintf(a.stderr, "gojob: %s refused it:\n", answer.Server)
	} else {
		fmt.Fprintf(a.stderr, "gojob: %s\n", lines(text))
	}
	var usage *usageError
	var unreachable *client.UnreachableError
	switch {
	case errors.As(err, &answer):
		a.explainAnswer(answer)
	case errors.As(err, &usage) && command != nil:
		fmt.Fprintf(a.stderr, "try: %s --help\n", command.CommandPath())
	case errors.As(err, &unreachable):
		a.tryDoctor()
	}
}

// explainAnswer says more about an answer of the server.
func (a *app) explainAnswer(answer *client.Error) {
	for _, fault := range answer.Faults {
		if len(answer.Faults) > 1 || !strings.Contains(answer.Detail, fault.Message) { // else it was said
			fmt.Fprintf(a.stderr, "  %s: %s\n", printable(fault.Field), printable(fault.Message))
		}
	}
	switch {
	case answer.Status == http.StatusUnauthorized:
		a.explainLogin()
	case answer.Unknown():
		a.explainUnknown()
	case answer.Problem == nil && answer.Status/100 != 3: // something else answers
		a.tryDoctor()
	}
}

// explainLogin says how to log in, and which credentials the server did not take.
func (a *app) explainLogin() {
	if a.target.URL == nil {
		return
	}
	switch with := loginOf(a.target); {
	case with == "":
		fmt.Fprintf(a.stderr, "no key was sent; log in with: gojob login %s\n", a.target.URL)
	case a.target.Credential == nil:
		fmt.Fprintf(a.stderr, "sent was %s; set GOJOB_TOKEN to another, or unset it and: gojob login %s\n", with,
			a.target.URL)
	default:
		fmt.Fprintf(a.stderr, "sent was %s of the context %s; log in again with: gojob login %s\n", with,
			a.target.Credential.Context, a.target.URL)
	}
}

func (a *app) tryDoctor() {
	url := ""
	if a.flags.URL != "" {
		url = " --url " + a.flags.URL
	}
	fmt.Fprintf(a.stderr, "try: gojob doctor%s\n", url)
}

// lines is a message of others whose line breaks stay, and whose other controls are escaped.
func lines(text string) string {
	parts := strings.Split(text, "\n")
	for i := range parts {
		parts[i] = printable(parts[i])
	}
	return strings.Join(parts, "\n")
}

// wantsJSON reports whether errors are for programs.
func wantsJSON(command *cobra.Command) bool {
	flag := command.Flags().Lookup("output")
	return flag != nil && (flag.Value.String() == formatJSON || flag.Value.String() == formatYAML)
}

// document is an error as a problem document (RFC 9457): that of the server if there is one, else one
// without a status.
func document(err error) json.RawMessage {
	var answer *client.Error
	if errors.As(err, &answer) && answer.Problem != nil {
		return bytes.TrimSpace(answer.Problem)
	}
	title := map[int]string{
		exitError: "Error", exitUsage: "Usage", exitNotFound: "Not Found", exitNotAllowed: "Not Allowed",
		exitUnreachable: "Unreachable", exitPlatform: "Failed",
	}[codeOf(err)]
	problem := struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status,omitempty"`
		Detail string `json:"detail"`
	}{Type: "about:blank", Title: title, Detail: err.Error()}
	if answer != nil {
		problem.Title, problem.Status = http.StatusText(answer.Status), answer.Status
	}
	text, err := json.Marshal(problem)
	if err != nil { // strings and numbers can be encoded
		return json.RawMessage(`{"type":"about:blank","title":"Error"}`)
	}
	return text
}

// codeOf is the exit code of every command but run.
func codeOf(err error) int {
	var usage *usageError
	var unreachable *client.UnreachableError
	var answer *client.Error
	var noJob *noJobError
	var login *loginError
	var coded *exitCodeError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &noJob):
		return exitNotFound
	case errors.As(err, &login):
		return exitNotAllowed
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
