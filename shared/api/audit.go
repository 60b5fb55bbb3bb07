package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/audit"
	"go-job-orchestrator/shared/routes"
)

// Auditor is told of every guarded call once it is answered; audit.Log is one. It must not keep the
// client waiting.
type Auditor interface {
	// Call has the request with its caller in its context, if it has one.
	Call(r *http.Request, c audit.Call)
}

// Audited sets what is told of calls. It returns the Router.
func (r *Router) Audited(a Auditor) *Router {
	r.audit = a
	return r
}

// PassesOn says that the handlers pass calls on to other functions, which have auditors themselves.
func (r *Router) PassesOn() { r.passesOn = true }

// answer has the guard admit a request, and h answer it. Then it tells the auditor, also after a
// panic, because the call may have changed something before that.
func (r *Router) answer(
	route routes.Route, h Handler, w http.ResponseWriter, req *http.Request, p httprouter.Params,
) error {
	call := audit.Call{Route: route, Value: p.ByName, Status: http.StatusInternalServerError, PassedOn: r.passesOn}
	if r.audit != nil {
		defer func() { r.audit.Call(req, call) }()
	}
	admitted, err := r.guard.Admit(req, p, route)
	if admitted != nil {
		req = admitted
	}
	sent := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	switch {
	case err != nil:
	case route.Changes():
		err = h(sent, req, p)
	default: // the answer may be a file, and the kernel sends files only to the bare writer
		err = h(w, req, p)
	}
	call.Status, call.Location = sent.status, w.Header().Get("Location")
	if err != nil {
		call.Status, call.Foreign = statusOf(req, err), errors.Is(err, access.ErrForeign)
	}
	return err
}

// clientGone is the status in the log for a client that did not wait for the answer.
const clientGone = 499

func statusOf(r *http.Request, err error) int {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return clientGone
	}
	p, _ := problemOf(err)
	return p.Status
}

// statusWriter notes the status of the answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
