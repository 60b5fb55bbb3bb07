// Package auth authenticates callers at the gateway: by nothing at all, by a key, or by a token of
// an OpenID Connect issuer. The functions behind the gateway do not link it.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/oidc"
)

// Settings say how callers are authenticated.
type Settings struct {
	// Auth is auto, open, keys, oidc, or keys,oidc.
	Auth []string `env:"AUTH" envDefault:"auto"`
	// KeysFile is the document of the keys.
	KeysFile string `env:"KEYS_FILE"`
	// KeysSecret is the Secret of Kubernetes that KEYS_FILE is mounted from. Its changes are in force
	// before the kubelet puts them into the file.
	KeysSecret string `env:"KEYS_SECRET"`
	oidc.Settings
}

// Check names every setting at fault.
func (s *Settings) Check() error {
	var errs []error
	for _, word := range s.Auth {
		if !slices.Contains([]string{access.ModeAuto, access.ModeOpen, access.ModeKeys, access.ModeOIDC}, word) {
			errs = append(errs, fmt.Errorf("AUTH: %q is not auto, open, keys or oidc", word))
		}
	}
	if len(s.Auth) > 1 && (s.has(access.ModeAuto) || s.has(access.ModeOpen)) {
		errs = append(errs, errors.New("AUTH: auto and open stand alone; keys and oidc may stand together"))
	}
	if s.has(access.ModeOIDC) && s.Issuer == "" {
		errs = append(errs, errors.New("OIDC_ISSUER: AUTH=oidc needs the URL of the issuer"))
	}
	if !s.has(access.ModeOIDC) && s.Issuer != "" {
		errs = append(errs, errors.New("OIDC_ISSUER: is of no use without oidc in AUTH"))
	}
	if !s.has(access.ModeOIDC) && s.ClientID != "" {
		errs = append(errs, errors.New("OIDC_CLIENT_ID: is of no use without oidc in AUTH"))
	}
	return errors.Join(append(errs, s.Settings.Check())...)
}

func (s *Settings) has(word string) bool { return slices.Contains(s.Auth, word) }

// Login returns how callers log in, for their command lines and pages to know. loopback says that only
// programs of this machine reach the gateway.
func (s *Settings) Login(loopback bool) access.Login {
	plain := access.LoginSettings{Auth: s.Auth, Issuer: s.Issuer, Audience: s.Audience, ClientID: s.ClientID}
	return plain.Login(loopback)
}

// Keyring tells whose a key is. Its errors are those of access.Keyring.Lookup.
type Keyring interface {
	Lookup(key string) (access.Caller, error)
}

// Issuer tells who has sent a token of an issuer; oidc.Authenticator is one.
type Issuer interface {
	Authenticate(ctx context.Context, token string) (access.Caller, error)
}

// Deps is what a Gateway works with. What is nil is not used.
type Deps struct {
	Open bool // everyone is access.Local
	// Loopback says that it is open because only programs of this machine reach it.
	Loopback bool
	Keys     Keyring
	Issuer   Issuer
	Sealer   Sealer // nil: browsers cannot log in
	Log      *slog.Logger
	Now      func() time.Time
}

// Gateway authenticates callers. It is safe for concurrent use.
type Gateway struct {
	Deps
	failures *failures
	proxied  sync.Once // the warning of warnOfProxy
}

// New returns a Gateway.
func New(d Deps) *Gateway { return &Gateway{Deps: d, failures: newFailures(d.Now)} }

// local is everybody where nobody has to say who they are.
func local() access.Caller {
	return access.Caller{Owner: access.Local, Role: access.Admin, Via: access.Open}
}

// Identify returns the request with its caller in its context, and without any assertion: only the
// gateway makes those. A request without credentials, or with another token than a caller's, such
// as that of a job, has no caller; the function that answers it decides what to do.
func (g *Gateway) Identify(r *http.Request) (*http.Request, error) {
	if r.Header.Get(access.AssertionHeader) != "" {
		r = r.Clone(r.Context())
		r.Header.Del(access.AssertionHeader)
	}
	if g.Open {
		g.warnOfProxy(r)
		return r.WithContext(access.With(r.Context(), local())), nil
	}
	if len(r.Header.Values("Authorization")) == 0 {
		return g.fromCookie(r)
	}
	bearer, err := api.Bearer(r)
	if errors.Is(err, job.ErrUnauthorized) { // other credentials, such as those of a proxy
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	c, known, err := g.authenticate(r.Context(), bearer)
	if err != nil {
		return nil, g.fail(r, err)
	}
	if !known {
		return r, nil
	}
	return r.WithContext(access.With(r.Context(), c)), nil
}

// warnOfProxy says in the log, once, if the requests of others reach a server that is open because it
// listens on loopback.
func (g *Gateway) warnOfProxy(r *http.Request) {
	if !g.Loopback || r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == "" {
		return
	}
	g.proxied.Do(func() {
		g.Log.WarnContext(r.Context(), "a proxy passes requests on to this server, which is open: everybody who reaches the "+
			"proxy may run programs, and see and remove all jobs; set AUTH=keys")
	})
}

// authenticate returns whose a token is, and false if it is not one of a caller.
func (g *Gateway) authenticate(ctx context.Context, bearer string) (access.Caller, bool, error) {
	switch {
	case access.IsKey(bearer) && g.Keys != nil:
		c, err := g.Keys.Lookup(bearer)
		return c, err == nil, keyProblem(err)
	case access.IsKey(bearer):
		return access.Caller{}, false, job.Refuse(job.ErrUnauthorized, "", "keys are not taken here (AUTH); log in with "+
			"OpenID Connect")
	case oidc.LooksLikeToken(bearer) && g.Issuer != nil:
		c, err := g.Issuer.Authenticate(ctx, bearer)
		if err != nil {
			return access.Caller{}, false, oidc.Problem(err)
		}
		return c, true, nil
	}
	return access.Caller{}, false, nil
}

// keyProblem is what the API answers to an error of a look-up.
func keyProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, access.ErrMalformed):
		return job.Refuse(job.ErrUnauthorized, "", err.Error()+"; copy it again")
	case errors.Is(err, access.ErrExpired):
		return job.Refuse(job.ErrUnauthorized, "", "the key has expired; ask an admin for another")
	case errors.Is(err, access.ErrUnknownKey):
		return job.Refuse(job.ErrUnauthorized, "", "nobody has this key; it may have been revoked. Ask an admin for another")
	}
	return err
}

// fail logs a failed login, and answers one that comes too often with 429. Good credentials are
// never kept waiting by what others from the same address do. A token that nobody can check, since the
// issuer does not answer, counts too: everybody can make one, and each is logged with its answer.
func (g *Gateway) fail(r *http.Request, err error) error {
	unchecked := errors.Is(err, job.ErrUnavailable)
	if !unchecked && !errors.Is(err, job.ErrUnauthorized) {
		return err
	}
	from, _, splitErr := net.SplitHostPort(r.RemoteAddr)
	if splitErr != nil {
		from = r.RemoteAddr
	}
	if !g.failures.allow(network(from)) {
		why := "There were too many failed logins from " + from
		if unchecked {
			why = "The OpenID Connect issuer does not answer, and there were too many tries from " + from
		}
		return api.Fail(http.StatusTooManyRequests, why+"; try again in a minute.")
	}
	if unchecked {
		return err
	}
	g.Log.WarnContext(r.Context(), "login failed", "from", from, "method", r.Method, "path", api.LogPath(r),
		"reason", strings.TrimSpace(err.Error()))
	return err
}

// network returns what failed logins are counted by. An IPv6 client can choose among all addresses of
// its network, which has 64 bits.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || !a.Unmap().Is6() {
		return address
	}
	p, err := a.WithZone("").Prefix(networkBits)
	if err != nil {
		return address
	}
	return p.String()
}
