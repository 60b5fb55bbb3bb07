package api

// HandlePath has a handler answer a call that is in no table.
func (r *Router) HandlePath(method, path string, h Handler) { r.handle(method, path, h) }
