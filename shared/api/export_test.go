package api

import "go-job-orchestrator/shared/routes"

// HandlePath routes a call that is not in the table to a handler.
func (r *Router) HandlePath(method, path string, h Handler) {
	r.handle(method, path, routes.Route{}, false, h)
}
