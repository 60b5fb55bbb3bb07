package client

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// Error is an answer of the server that is not 2xx.
type Error struct {
	Server       string
	Method, Path string
	Status       int
	// Problem is the problem document (RFC 9457) as it was sent; nil if the answer was no such
	// document, for instance because a proxy gave it.
	Problem json.RawMessage
	Title   string
	Detail  string
	Faults  []job.Fault
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration
	Header     http.Header
}

// Error says which server answered what.
func (e *Error) Error() string {
	text := e.Detail
	if at := e.Header.Get("Location"); at != "" && e.Status/100 == 3 {
		return fmt.Sprintf("%s: it redirects %s %s to %s; if that is the server, use its URL: gojob login URL",
			e.Server, e.Method, e.Path, at)
	}
	if text == "" {
		text = fmt.Sprintf("it answered %d %s to %s %s", e.Status, http.StatusText(e.Status), e.Method, e.Path)
	}
	return e.Server + ": " + text
}

// UnreachableError says that no whole answer came from the server.
type UnreachableError struct {
	Server string
	Err    error
}

func (e *UnreachableError) Error() string {
	err := e.Err
	if call, ok := err.(*url.Error); ok { //nolint:errorlint // it begins with the method and the URL
		err = call.Err
	}
	return fmt.Sprintf("%s does not answer: %s", e.Server, err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// maxProblem bounds an error document.
const maxProblem = 1 << 20

func readError(server string, call Call, response *http.Response) error {
	e := &Error{
		Server: server, Method: call.Method, Path: call.Path, Status: response.StatusCode, Header: response.Header,
		RetryAfter: retryAfter(response.Header),
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" {
		return e
	}
	var problem struct {
		Title, Detail string
		Errors        []job.Fault
	}
	if json.Unmarshal(raw, &problem) == nil {
		e.Problem, e.Title, e.Detail, e.Faults = raw, problem.Title, problem.Detail, problem.Errors
	}
	return e
}

// retryAfter reads Retry-After in seconds; the server sends no dates.
func retryAfter(header http.Header) time.Duration {
	d, err := time.ParseDuration(strings.TrimSpace(header.Get("Retry-After")) + "s")
	if err != nil || d < 0 {
		return 0
	}
	return d
}
