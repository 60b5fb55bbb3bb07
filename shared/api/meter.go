package api

import (
	"net/http"
	"time"

	"go-job-orchestrator/shared/routes"
)

// Meter counts answers; metrics.Requests is one. It must not keep the client waiting.
type Meter interface {
	// Answered has the status of the answer and the time since the request was routed. The route is the
	// zero Route for a request that no call of the table is for.
	Answered(route routes.Route, r *http.Request, status int, took time.Duration)
}

// Measured sets what counts answers. It returns the Router.
func (r *Router) Measured(m Meter) *Router {
	r.meter = m
	return r
}

// measure returns a function to call once the request is answered. The writer is replaced only if it
// does not know its status itself, because the kernel sends files only to the bare one.
func (r *Router) measure(route routes.Route, w *http.ResponseWriter, req *http.Request) func() {
	if r.meter == nil {
		return func() {}
	}
	begun := time.Now()
	status := knownStatus(*w)
	if status == nil {
		sent := &statusWriter{ResponseWriter: *w, status: http.StatusOK}
		*w, status = sent, func() int { return sent.status }
	}
	return func() {
		if v := recover(); v != nil { // httprouter answers it later, or net/http cuts the answer off
			r.meter.Answered(route, req, http.StatusInternalServerError, time.Since(begun))
			panic(v)
		}
		r.meter.Answered(route, req, status(), time.Since(begun))
	}
}

// knownStatus returns what tells the status of the answer, if the writer or one that it wraps does.
func knownStatus(w http.ResponseWriter) func() int {
	for {
		if known, ok := w.(interface{ Status() int }); ok {
			return known.Status
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = inner.Unwrap()
	}
}
