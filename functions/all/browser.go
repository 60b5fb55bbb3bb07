package all

import (
	"log/slog"
	"net/http"

	"go-job-orchestrator/shared/api"
)

// sameOrigin refuses what a page of another site has a browser send. A form needs no permission to be sent across sites, and
// whoever can send one runs programs: without this, every page that a developer looks at could.
func sameOrigin(h http.Handler, log *slog.Logger) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.WriteError(w, r, log, api.Fail(http.StatusForbidden, "A page of another site had this sent by a browser; jobs are taken from programs such as curl, and from pages of this server's own address."))
	}))
	return protection.Handler(h)
}
