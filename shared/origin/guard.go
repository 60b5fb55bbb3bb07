package origin

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"

	"go-job-orchestrator/shared/api"
)

// Guard returns a handler that passes on to h what is meant for a server of these names, unless a
// browser sends it for a page of another site that is not one of sites. A name that is not the
// server's may be one that a page of another site has pointed here (DNS rebinding). For the browser
// that page and this server are then one site.
func Guard(names *Names, sites *Sites, h http.Handler, log *slog.Logger) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		// If the request's target has a host, r.Host is that one. No other header counts, because the
		// sender of a false Host can send false headers too.
		if r.URL.User != nil || !names.Has(r.Host, local) {
			api.WriteError(w, r, log, api.Fail(http.StatusMisdirectedRequest, fmt.Sprintf(
				"%.100q is not a name that this server answers to; to have it answer, add the name to ALLOWED_HOSTS.", r.Host)))
			return
		}
		if !sites.admit(r) && (crossOrigin.Check(r) != nil || !mayRead(r)) {
			api.WriteError(w, r, log, api.Fail(http.StatusForbidden, "A browser sent this for a page of another site; this "+
				"server answers programs such as curl, pages of its own address, and pages of the sites in CORS_ORIGINS."))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// mayRead refuses requests without effects that a page of another site has a browser send.
// http.CrossOriginProtection lets all of them pass, because the browser keeps the answer from the
// page. But a browser does not keep it from a page of the same site, and some old browsers keep it
// from no page.
func mayRead(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		origin := r.Header.Get("Origin")
		if origin == "" {
			return true
		}
		u, err := url.Parse(origin)
		return err == nil && u.Host == r.Host
	}
	// A person follows a link to this server and sees the answer. The page with the link does not.
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document"
}
