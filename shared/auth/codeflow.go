package auth

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go-job-orchestrator/shared/oidc"
)

// The cookie of a login that is under way at the issuer.
const (
	loginCookie   = "__Host-gojob-login"
	loginPurpose  = "login/v1"
	loginLifetime = 10 * time.Minute
)

// The paths of the page that a login ends at, and of those that lead through the issuer.
const (
	pagePath     = "/ui/"
	failedPath   = "/ui/login?failed="
	callbackPath = "/ui/login/callback"
)

// Why a login failed, in the words of the page.
const (
	failedState  = "state"  // it took too long, or was begun in another browser
	failedDenied = "denied" // the issuer has said no
	failedRole   = "role"   // the caller may not do anything here
	failedIssuer = "issuer" // the issuer does not answer
	failedToken  = "token"  // what the issuer has sent is of no use
)

// login is what is sealed in the cookie while a caller is at the issuer.
type login struct {
	oidc.Begun
	Back  string `json:"back"` // the path of the page to go on with
	Until int64  `json:"until"`
}

// Depart sends a browser to the issuer (code flow with PKCE, RFC 7636). back=<path> is where it comes
// out in the end.
func (g *Gateway) Depart(w http.ResponseWriter, r *http.Request) error {
	flow, ok := g.Issuer.(codeFlow)
	if !ok || g.Sealer == nil {
		return failed(w, r, failedIssuer)
	}
	begun, err := flow.Begin(r, callback(r))
	if err != nil {
		g.Log.WarnContext(r.Context(), "login not begun", "error", err)
		return failed(w, r, failedIssuer)
	}
	back := r.URL.Query().Get("back")
	if !strings.HasPrefix(back, pagePath) { // it is not to lead to another site
		back = pagePath
	}
	value, err := g.seal(login{begun, back, g.Now().Add(loginLifetime).Unix()}, loginPurpose)
	if err != nil {
		return err
	}
	setCookie(w, loginCookie, value, loginLifetime)
	leave(w, r, begun.URL)
	return nil
}

// Arrive takes a browser back from the issuer, and begins its session.
func (g *Gateway) Arrive(w http.ResponseWriter, r *http.Request) error {
	flow, ok := g.Issuer.(codeFlow)
	cookie, err := r.Cookie(loginCookie)
	if !ok || err != nil || g.Sealer == nil {
		return failed(w, r, failedState) // the page tells it
	}
	setCookie(w, loginCookie, "", 0)
	var l login
	err = g.unseal(cookie.Value, loginPurpose, &l)
	q := r.URL.Query()
	if err != nil || g.Now().Unix() >= l.Until ||
		subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(l.State)) != 1 {
		return failed(w, r, failedState)
	}
	if q.Get("code") == "" {
		g.Log.WarnContext(r.Context(), "login refused by the issuer", "reason", q.Get("error"))
		return failed(w, r, failedDenied)
	}
	c, err := flow.Finish(r, callback(r), l.Begun)
	if err != nil {
		g.Log.WarnContext(r.Context(), "login failed", "reason", err)
		return failed(w, r, wordFor(err))
	}
	if err := g.remember(w, r, c, ""); err != nil {
		return err
	}
	leave(w, r, l.Back)
	return nil
}

func wordFor(err error) string {
	switch {
	case errors.Is(err, oidc.ErrNoRole):
		return failedRole
	case errors.Is(err, oidc.ErrUnavailable):
		return failedIssuer
	}
	return failedToken
}

// failed leads to the page, which says what went wrong.
func failed(w http.ResponseWriter, r *http.Request, word string) error {
	leave(w, r, failedPath+word)
	return nil
}

func leave(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback is the URL to which the issuer sends a browser back. The Host is one of this server's
// names: the gate has checked it.
func callback(r *http.Request) string {
	u := url.URL{Scheme: "https", Host: r.Host, Path: callbackPath}
	forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	if r.TLS == nil && (forwarded == "http" || forwarded == "" && isLoopbackHost(u.Hostname())) {
		u.Scheme = "http"
	}
	return u.String()
}

// isLoopbackHost reports whether a name is one of this machine for its browsers: those have no TLS.
func isLoopbackHost(name string) bool {
	a, err := netip.ParseAddr(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && a.IsLoopback()
}
