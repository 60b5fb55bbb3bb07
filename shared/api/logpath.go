package api

import (
	"net/http"
	"strings"
)

// maxLogged is how long a segment of a path may be in the log: the length of a job's ID. Keys and
// tokens are longer.
const maxLogged = 32

// LogPath returns the path of a request for the log. Clients mistake keys and tokens for the IDs of
// keys and jobs and put them into paths, so longer segments are replaced by an ellipsis.
func LogPath(r *http.Request) string {
	segments := strings.Split(r.URL.Path, "/")
	for i, s := range segments {
		if len(s) > maxLogged {
			segments[i] = "…"
		}
	}
	return strings.Join(segments, "/")
}
