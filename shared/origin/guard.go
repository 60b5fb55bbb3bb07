package origin

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"

	"go-job-orchestrator/shared/api"
)

// Guard returns a handler that passes on to h what is meant for a server of these names. A name
// that is not the server's may be one that a page of another site has pointed here (DNS rebinding):
// to the browser that page and this server are one site then.
func Guard(names *Names, h http.Handler, log *slog.Logger) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		// Host is that of the request's target, if it has one. No other header counts: whoever sends a
		// Host can send those.
		if r.URL.User != nil || !names.Has(r.Host, local) {
			api.WriteError(w, r, log, api.Fail(http.StatusMisdirectedRequest, fmt.Sprintf(
				"%.100q is not a name that this server answers to; to have it answer, add the name to ALLOWED_HOSTS.", r.Host)))
			return
		}
		if crossOrigin.Check(r) != nil || !mayRead(r) {
			api.WriteError(w, r, log, api.Fail(http.StatusForbidden, "A page of another site had this sent by a browser; "+
				"this server answers programs such as curl, and pages of its own address."))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// mayRead reports whether a request without effects was sent by no page of another site.
// http.CrossOriginProtection lets all of those pass: the browser keeps the answer from the page.
// But not from a page of the same site, nor does every old browser.
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
	// Somebody follows a link to here, and sees the answer; the page with the link does not.
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document"
}
