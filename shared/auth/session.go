package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/oidc"
)

// The cookie of a session. Its prefix has browsers keep it only from a secure origin, and send it to
// exactly this host.
const (
	SessionCookie   = "__Host-gojob"
	SessionLifetime = 12 * time.Hour
)

// PageHeader has to be in a request that changes something and is authenticated by the cookie. A
// page of another site cannot have a browser send it without asking this server first.
const PageHeader = "X-Gojob"

// sessionPurpose keeps sealed sessions apart from all else under the same keys.
const sessionPurpose = "session/v1"

// maxLogin bounds the body of a login.
const maxLogin = 20 << 10

// Sealer encrypts and authenticates what a browser keeps; token.Keys is one.
type Sealer interface {
	Seal(text []byte, purpose string, parts ...string) ([]byte, error)
	Open(sealed []byte, purpose string, parts ...string) ([]byte, error)
}

// session is what is sealed in the cookie. A key is in it itself, and is looked up for each request:
// once it is revoked or has expired, the session has ended as well. Of an OpenID Connect login there
// is the caller, because tokens live shorter than sessions.
type session struct {
	Key   string      `json:"key,omitempty"`
	Owner string      `json:"owner,omitempty"`
	Role  access.Role `json:"role,omitempty"`
	Until int64       `json:"until"` // seconds since 1970
}

// errSession is the answer to a cookie that is of no use.
func errSession(why string) error {
	return job.Refuse(job.ErrUnauthorized, "", "the login of this browser "+why+"; log in again")
}

// fromCookie returns the request with the caller whose session the browser has.
func (g *Gateway) fromCookie(r *http.Request) (*http.Request, error) {
	cookie, err := r.Cookie(SessionCookie)
	if err != nil || g.Sealer == nil {
		return r, nil //nolint:nilerr // there is no session
	}
	if changes(r.Method) && r.Header.Get(PageHeader) == "" {
		return nil, job.Refuse(job.ErrForbidden, PageHeader,
			"is missing: a call that changes something, and has the cookie of a browser, needs this header")
	}
	var s session
	if err := g.unseal(cookie.Value, sessionPurpose, &s); err != nil {
		return nil, errSession("cannot be read any more")
	}
	if g.Now().Unix() >= s.Until {
		return nil, errSession("has ended")
	}
	c := access.Caller{Owner: s.Owner, Role: s.Role, Via: "oidc"}
	switch {
	case s.Key != "" && g.Keys == nil, s.Key == "" && g.Issuer == nil:
		return nil, errSession("is of a kind that is not taken any more (AUTH)")
	case s.Key != "":
		if c, err = g.Keys.Lookup(s.Key); err != nil {
			return nil, keyProblem(err)
		}
	}
	return r.WithContext(access.With(r.Context(), c)), nil
}

func changes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// seal returns a value for a cookie.
func (g *Gateway) seal(value any, purpose string) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", errors.New("a session cannot be encoded") // the error could have a part of a key
	}
	sealed, err := g.Sealer.Seal(text, purpose)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

func (g *Gateway) unseal(cookie, purpose string, into any) error {
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return err
	}
	text, err := g.Sealer.Open(sealed, purpose)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// setCookie has the browser keep a value for so long; none: it forgets the cookie. The cookie of a
// login that is under way has to survive the way back from the issuer, so it cannot be Strict.
func setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(age / time.Second)}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// remember begins the session of a caller.
func (g *Gateway) remember(w http.ResponseWriter, r *http.Request, c access.Caller, key string) error {
	s := session{Key: key, Until: g.Now().Add(SessionLifetime).Unix()}
	if key == "" {
		s.Owner, s.Role = c.Owner, c.Role
	}
	value, err := g.seal(s, sessionPurpose)
	if err != nil {
		return err
	}
	setCookie(w, SessionCookie, value, SessionLifetime)
	g.Log.InfoContext(r.Context(), "logged in", "owner", c.Owner, "role", c.Role, "via", c.Via)
	return nil
}

// whoami is what a login is answered with.
type whoami struct {
	Owner string      `json:"owner"`
	Role  access.Role `json:"role"`
	Via   string      `json:"via"`
}

// LogIn begins the session of a browser, which sends a key, or a token of the issuer, as JSON:
// {"key": "…"}. The answer has the caller. Where everybody may call there is no session to begin.
func (g *Gateway) LogIn(w http.ResponseWriter, r *http.Request) error {
	if g.Open {
		c := local()
		api.WriteJSON(w, http.StatusOK, whoami{c.Owner, c.Role, c.Via})
		return nil
	}
	key, err := readLogin(r)
	if err != nil {
		return err
	}
	c, known, err := g.authenticate(r.Context(), key)
	if err == nil && !known {
		err = job.Refuse(job.ErrUnauthorized, "key", "is not a key: it begins with gojob_, and an admin has made it")
	}
	if err != nil {
		return g.fail(r, err)
	}
	if !access.IsKey(key) {
		key = ""
	}
	if err := g.remember(w, r, c, key); err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, whoami{c.Owner, c.Role, c.Via})
	return nil
}

// readLogin returns the key in the body of a login.
func readLogin(r *http.Request) (string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return "", api.Fail(http.StatusUnsupportedMediaType, "Content-Type: send application/json.")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxLogin+1))
	if err != nil {
		return "", api.BadRequest("body", "could not be read to its end")
	}
	if len(data) > maxLogin {
		return "", job.Refuse(job.ErrTooLarge, "body", fmt.Sprintf("is longer than %d bytes", maxLogin))
	}
	var sent struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(data, &sent); err != nil || sent.Key == "" {
		return "", api.BadRequest("body", `is not a JSON object such as {"key":"gojob_…"}`)
	}
	return sent.Key, nil
}

// LogOut ends the session of a browser.
func (g *Gateway) LogOut(w http.ResponseWriter, _ *http.Request) error {
	setCookie(w, SessionCookie, "", 0)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// codeFlow is the issuer's part of a login by a browser; oidc.Authenticator is one.
type codeFlow interface {
	Begin(r *http.Request, redirect string) (oidc.Begun, error)
	Finish(r *http.Request, redirect string, b oidc.Begun) (access.Caller, error)
}
