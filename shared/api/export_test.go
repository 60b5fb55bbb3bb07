package api

// HandlePath routes a call that is not in the table to a handler.
func (r *Router) HandlePath(method, path string, h Handler) { r.handle(method, path, false, h) }
