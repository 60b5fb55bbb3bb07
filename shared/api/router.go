package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/routes"
)

// Handler answers a request or returns the error to answer it with. It must not return an error
// once it has begun to write.
type Handler func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error

// Router is httprouter, with problem details for every error and every panic.
type Router struct {
	mux *httprouter.Router
	log *slog.Logger

	guard    Guard
	audit    Auditor
	meter    Meter
	passesOn bool
	rewrites []func(*http.Request) *http.Request
	// beside are the handlers of calls that are found before all others, by method and path. httprouter
	// refuses to route a path beside another with a parameter.
	beside map[string]httprouter.Handle
}

// Guard decides whether the sender of a request may make a call. It returns the request with what
// the handler may know of its sender.
type Guard interface {
	Admit(r *http.Request, p httprouter.Params, route routes.Route) (*http.Request, error)
}

// errUnguarded answers calls that need a guard where there is none.
var errUnguarded = errors.New("the router has no guard")

// NewRouter returns a Router that answers GET /healthz.
func NewRouter(log *slog.Logger) *Router {
	mux := httprouter.New()
	mux.HandleOPTIONS = false
	mux.RedirectFixedPath = false // it would reveal paths that differ in case only
	mux.RedirectTrailingSlash = false
	r := &Router{mux: mux, log: log, beside: map[string]httprouter.Handle{}}
	mux.NotFound = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer r.measure(routes.Route{}, &w, req)()
		WriteError(w, req, log, NoSuchPath())
	})
	mux.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer r.measure(routes.Route{}, &w, req)()
		r.correctAllow(w.Header(), req.URL.Path)
		WriteError(w, req, log, Fail(http.StatusMethodNotAllowed, fmt.Sprintf("%s is not possible for this path; the "+
			"header Allow names the possible methods.", req.Method)))
	})
	mux.PanicHandler = func(w http.ResponseWriter, req *http.Request, v any) {
		if v == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http compares it so
			panic(v)
		}
		log.ErrorContext(req.Context(), "panic", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		WriteError(w, req, log, fmt.Errorf("panic: %v", v))
	}
	r.Handle(routes.GetHealth, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
		return nil
	})
	return r
}

// correctAllow removes OPTIONS from the methods that httprouter found for a path, unless it is
// routed there. httprouter always adds it.
func (r *Router) correctAllow(h http.Header, path string) {
	if r.Handles(http.MethodOptions, path) {
		return
	}
	methods := strings.Split(h.Get("Allow"), ", ")
	methods = slices.DeleteFunc(methods, func(m string) bool { return m == http.MethodOptions })
	h.Set("Allow", strings.Join(methods, ", "))
}

// NoSuchPath is the error for a path that is not routed.
func NoSuchPath() error {
	return Fail(http.StatusNotFound, "There is no such path; GET /openapi.yaml lists all paths.")
}

// Handle routes a call of the table to a handler.
func (r *Router) Handle(route routes.Route, h Handler) {
	guarded := func(w http.ResponseWriter, req *http.Request, p httprouter.Params) error {
		if route.Role == routes.Anyone {
			return h(w, r.recognize(req, p, route), p)
		}
		if r.guard == nil {
			return errUnguarded
		}
		return r.answer(route, h, w, req, p)
	}
	r.handle(route.Method, route.Path, route, route.Beside, guarded)
}

// recognize returns the request of a call that everybody may make, with its caller if the answer
// depends on the caller.
func (r *Router) recognize(req *http.Request, p httprouter.Params, route routes.Route) *http.Request {
	if !route.KnowsCaller || r.guard == nil {
		return req
	}
	known, err := r.guard.Admit(req, p, route)
	if err != nil {
		return req // the call needs no credentials
	}
	return known
}

// Guarded sets what decides about every call that not everybody may make. It returns the Router.
func (r *Router) Guarded(g Guard) *Router {
	r.guard = g
	return r
}

func (r *Router) handle(method, path string, route routes.Route, beside bool, h Handler) {
	handle := func(w http.ResponseWriter, req *http.Request, p httprouter.Params) {
		defer r.measure(route, &w, req)()
		if err := h(w, req, p); err != nil {
			WriteError(w, req, r.log, err)
		}
	}
	if beside {
		r.beside[method+" "+path] = handle
		return
	}
	r.mux.Handle(method, path, handle)
}

// Handles reports whether a handler answers a call.
func (r *Router) Handles(method, path string) bool {
	if r.beside[method+" "+path] != nil {
		return true
	}
	handle, _, _ := r.mux.Lookup(method, path)
	return handle != nil
}

// Rewrite adds a function that replaces each request before it is routed.
func (r *Router) Rewrite(rewrite func(*http.Request) *http.Request) {
	r.rewrites = append(r.rewrites, rewrite)
}

// ServeHTTP implements http.Handler.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	for _, rewrite := range r.rewrites {
		req = rewrite(req)
	}
	if handle := r.beside[req.Method+" "+req.URL.Path]; handle != nil {
		defer func() {
			if v := recover(); v != nil {
				r.mux.PanicHandler(w, req, v)
			}
		}()
		handle(w, req, nil)
		return
	}
	r.mux.ServeHTTP(w, req)
}
