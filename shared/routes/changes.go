package routes

import "net/http"

// Changes reports whether the call changes something.
func (r Route) Changes() bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}
