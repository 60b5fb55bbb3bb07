// Package api is the HTTP layer that all functions share: errors as problem details, tokens,
// routing and serving.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Problem is the body of every error: problem details (RFC 9457), with the faults of single fields
// in errors.
type Problem struct {
	Type   string      `json:"type"`
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail,omitempty"`
	Errors []job.Fault `json:"errors,omitempty"`
}

// answer is how one kind of error is answered. detail is used when the error itself has no text for
// users.
type answer struct {
	kind   error
	status int
	detail string
}

// answers is the only table that maps kinds of errors to HTTP. The first match counts.
func answers() []answer {
	return []answer{
		{job.ErrUnauthorized, http.StatusUnauthorized, "Send the job's token: Authorization: Bearer <token>."},
		{job.ErrForbidden, http.StatusForbidden, "This token does not open this job, or there is no such job."},
		{job.ErrNotFound, http.StatusNotFound, "There is no such job or file; it may have been removed."},
		{job.ErrTooLarge, http.StatusRequestEntityTooLarge, "The request is too large."},
		{job.ErrInvalid, http.StatusUnprocessableEntity, "The request is not valid."},
		{job.ErrConflict, http.StatusConflict, "The job is not in a state that allows this."},
		{job.ErrExists, http.StatusConflict, "It exists already."},
		{job.ErrGone, http.StatusGone, "It has been removed."},
		{job.ErrExhausted, http.StatusInsufficientStorage, "There is not enough storage left; try again when jobs have " +
			"been removed."},
		{job.ErrUnavailable, http.StatusServiceUnavailable, "Not possible right now; try again in a few seconds."},
	}
}

// statusError is an error with its own HTTP status.
type statusError struct {
	status int
	detail string
}

func (e *statusError) Error() string { return e.detail }

// Fail returns an error that is answered with exactly this status and detail.
func Fail(status int, detail string) error { return &statusError{status: status, detail: detail} }

// maxField bounds the name of a field that an answer repeats.
const maxField = 100

// BadRequest returns an error for a request that cannot be understood: 400, with the faulty field.
func BadRequest(field, message string) error {
	if len(field) > maxField { // the client may have invented the name of the parameter
		field = strings.ToValidUTF8(field[:maxField], "") + "…"
	}
	return &malformed{job.Fault{Field: field, Message: message}}
}

// UnknownParameter returns the error for a query parameter that the call does not have. A misspelt
// parameter must not be ignored. others maps synonyms to the known parameters.
func UnknownParameter(name string, others map[string]string, known ...string) error {
	if len(known) == 0 {
		return BadRequest(name, "is not a parameter of this call, which has none")
	}
	return BadRequest(name, "is not a parameter of this call; there are: "+strings.Join(known, ", ")+
		job.Meant(name, known, others))
}

type malformed struct{ fault job.Fault }

func (m *malformed) Error() string { return m.fault.Field + ": " + m.fault.Message }

func problemOf(err error) (Problem, bool) {
	var status *statusError
	if errors.As(err, &status) {
		return newProblem(status.status, status.detail), true
	}
	var bad *malformed
	if errors.As(err, &bad) {
		p := newProblem(http.StatusBadRequest, bad.Error())
		p.Errors = []job.Fault{bad.fault}
		return p, true
	}
	for _, a := range answers() {
		if !errors.Is(err, a.kind) {
			continue
		}
		p := newProblem(a.status, a.detail)
		var faults *job.Faults
		if errors.As(err, &faults) {
			p.Detail = faults.Error()
			for _, one := range faults.List {
				if one.Field != "" {
					p.Errors = append(p.Errors, one)
				}
			}
		}
		return p, true
	}
	return newProblem(http.StatusInternalServerError, "Something went wrong in the server; its log says what. "+
		"Trying again may help."), false
}

func newProblem(status int, detail string) Problem {
	return Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// retryAfter is how many seconds a 503 tells clients to wait.
const retryAfter = "5"

// WriteError answers a request with an error. Details that clients must not see go to the log.
func WriteError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	p, expected := problemOf(err)
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		// The client has gone, or has closed only its half of the connection. If the handler returned
		// without an answer, net/http would send 200.
		panic(http.ErrAbortHandler)
	case !expected:
		log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", LogPath(r), "error", err)
	case p.Status >= http.StatusInternalServerError:
		log.WarnContext(r.Context(), "request refused", "method", r.Method, "path", LogPath(r), "status", p.Status, "error",
			err)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="jobs"`)
	}
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p Problem) {
	h := w.Header()
	for _, name := range []string{"Content-Disposition", "Content-Encoding", "Content-Length", "Content-Range", "ETag",
		"Last-Modified"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	data := encode(p)
	// The length tells the client that the answer is complete, even when it is still sending.
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(data) // nothing can be done for a client that has gone
}

// WriteJSON answers with a value.
func WriteJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(encode(value)) // nothing can be done for a client that has gone
}

// encode returns a value as a line of JSON. It is never part of an HTML page, so "<" needs no
// escape.
func encode(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil { // no type that is used in answers fails to encode
		return []byte("{}\n")
	}
	return b.Bytes()
}
