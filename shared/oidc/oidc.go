// Package oidc tells who a caller is by a token that an OpenID Connect issuer has signed. Only the
// gateway links it.
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// Settings say which issuer is trusted, and what its claims mean.
type Settings struct {
	Issuer   string `env:"OIDC_ISSUER"`
	Audience string `env:"OIDC_AUDIENCE"`
	// OwnerClaim is the claim whose value is the caller's name.
	OwnerClaim string `env:"OIDC_OWNER_CLAIM" envDefault:"sub"`
	// RoleClaim is the claim that has roles: a string, or a list of strings such as groups.
	RoleClaim string `env:"OIDC_ROLE_CLAIM" envDefault:"roles"`
	// Roles gives roles to values of that claim, as value=role. admin, user and read mean themselves.
	Roles []string `env:"OIDC_ROLES"`
	// ClientID is the public client of command lines and pages at the issuer.
	ClientID string `env:"OIDC_CLIENT_ID"`
	// Scopes are what the page asks the issuer for when somebody logs in.
	Scopes []string `env:"OIDC_SCOPES" envDefault:"openid,profile,email"`
	// DefaultRole is the role of callers without any in the claim; empty: they are refused.
	DefaultRole string `env:"OIDC_DEFAULT_ROLE"`
}

// Check names every setting at fault. Settings without an issuer are not looked at.
func (s *Settings) Check() error {
	if s.Issuer == "" {
		return nil
	}
	var errs []error
	u, err := url.Parse(s.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		errs = append(errs, fmt.Errorf("OIDC_ISSUER: %q is not an https URL", s.Issuer))
	}
	if s.Audience == "" {
		errs = append(errs, errors.New("OIDC_AUDIENCE: set it to the client ID that tokens are made for"))
	}
	if s.OwnerClaim == "" {
		errs = append(errs, errors.New("OIDC_OWNER_CLAIM: set it to the claim that names the caller, such as sub"))
	}
	if _, err := s.roles(); err != nil {
		errs = append(errs, err)
	}
	if s.DefaultRole != "" {
		if _, err := access.ParseRole(s.DefaultRole); err != nil {
			errs = append(errs, fmt.Errorf("OIDC_DEFAULT_ROLE: %w", err))
		}
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// roles returns what each value of the role claim means.
func (s *Settings) roles() (map[string]access.Role, error) {
	all := map[string]access.Role{}
	for _, r := range access.Roles() {
		all[string(r)] = r
	}
	for _, pair := range s.Roles {
		value, name, found := strings.Cut(strings.TrimSpace(pair), "=")
		if !found || value == "" {
			return nil, fmt.Errorf("OIDC_ROLES: %q is not <value>=<role>, such as platform-team=admin", pair)
		}
		role, err := access.ParseRole(name)
		if err != nil {
			return nil, fmt.Errorf("OIDC_ROLES: %w", err)
		}
		all[value] = role
	}
	return all, nil
}

const (
	// skew is by how much the clocks of the issuer and of this machine may differ.
	skew = 30 * time.Second
	// timeout bounds each request to the issuer.
	timeout = 10 * time.Second
	// retryAfter is how long the issuer is left alone after it has not answered.
	retryAfter = 5 * time.Second
	// maxToken bounds what is parsed; a header can be longer.
	maxToken = 16 << 10
)

// ErrUnavailable is the error for an issuer that does not answer. The token may be a good one.
var ErrUnavailable = errors.New("the OpenID Connect issuer does not answer")

// ErrToken is the error for a token that does not authenticate anybody. Its text is for the caller.
var ErrToken = errors.New("not a valid token of the issuer")

// ErrNoRole is the error for a caller who may not do anything here.
var ErrNoRole = errors.New("no role")

// Authenticator tells who sent a token. It is safe for concurrent use.
type Authenticator struct {
	settings Settings
	roles    map[string]access.Role
	now      func() time.Time
	client   *http.Client
	browsers *http.Client // exchanges codes, one for each login

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	endpoint oauth2.Endpoint
	failed   time.Time
	failure  error
}

// New returns an Authenticator. The issuer is asked for its keys when the first token comes, so it
// need not be up when the gateway starts.
func New(s Settings, client *http.Client, now func() time.Time) (*Authenticator, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	roles, err := s.roles()
	if err != nil {
		return nil, err
	}
	c := *client
	c.Timeout = timeout
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	browsers := c
	browsers.Transport = &limited{inner: c.Transport, limit: rate.NewLimiter(loginRate, loginBurst)}
	c.Transport = &limited{inner: c.Transport, limit: rate.NewLimiter(askRate, askBurst)}
	return &Authenticator{settings: s, roles: roles, now: now, client: &c, browsers: &browsers}, nil
}

// A token that names a key nobody knows has the library ask the issuer for its keys. Such tokens
// cost nothing to make, so the issuer is asked that often at most.
const (
	askRate  = rate.Limit(1) // a second
	askBurst = 5

	loginRate  = rate.Limit(10) // a second
	loginBurst = 50
)

// limited refuses requests that come too often.
type limited struct {
	inner http.RoundTripper
	limit *rate.Limiter
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	if !l.limit.Allow() {
		return nil, errors.New("it was asked too often in the last seconds")
	}
	return l.inner.RoundTrip(r)
}

// LooksLikeToken reports whether a bearer token has the form of a JSON Web Token.
func LooksLikeToken(bearer string) bool { return strings.Count(bearer, ".") == 2 }

// Authenticate returns who has sent the token. Its errors are of kind ErrToken, ErrNoRole or
// ErrUnavailable.
func (a *Authenticator) Authenticate(ctx context.Context, raw string) (access.Caller, error) {
	if len(raw) > maxToken {
		return access.Caller{}, fmt.Errorf("%w: it has %d bytes; at most %d are read", ErrToken, len(raw), maxToken)
	}
	verifier, err := a.discover(ctx)
	if err != nil {
		return access.Caller{}, err
	}
	token, err := verifier.Verify(oidc.ClientContext(ctx, a.client), raw)
	if err != nil {
		return access.Caller{}, explain(err)
	}
	if err := a.checkTime(token); err != nil {
		return access.Caller{}, err
	}
	return a.caller(token)
}

// discover returns what verifies tokens, and asks the issuer for it if that was not done yet.
func (a *Authenticator) discover(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.verifier != nil {
		return a.verifier, nil
	}
	if since := a.now().Sub(a.failed); a.failure != nil && since >= 0 && since < retryAfter {
		return nil, a.failure
	}
	// The keys are fetched later in this context, which must outlast the request.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), a.client)
	provider, err := oidc.NewProvider(ctx, a.settings.Issuer)
	if err != nil {
		a.failed, a.failure = a.now(), fmt.Errorf("%w: %w", ErrUnavailable, err)
		return nil, a.failure
	}
	a.failure, a.endpoint = nil, provider.Endpoint()
	// Times are checked here, since the library knows no skew.
	a.verifier = provider.VerifierContext(ctx, &oidc.Config{ClientID: a.settings.Audience, SkipExpiryCheck: true,
		SupportedSigningAlgs: asymmetric()})
	return a.verifier, nil
}

// asymmetric lists the algorithms that need no secret in common with the issuer.
func asymmetric() []string {
	return []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512,
		oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
}

// explain tells a bad token from an issuer whose keys cannot be had. The library has no error for
// the latter but its text.
func explain(err error) error {
	if strings.Contains(err.Error(), "fetching keys") {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrToken, err)
}

// checkTime refuses a token before and after its time. RFC 7519, sections 4.1.4 and 4.1.5, lets
// some leeway for clocks that differ.
func (a *Authenticator) checkTime(token *oidc.IDToken) error {
	var times struct {
		NotBefore *json.Number `json:"nbf"`
	}
	if err := token.Claims(&times); err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	now := a.now()
	if token.Expiry.IsZero() {
		return fmt.Errorf("%w: it has no exp", ErrToken)
	}
	if now.After(token.Expiry.Add(skew)) {
		return fmt.Errorf("%w: it expired at %s", ErrToken, token.Expiry.UTC().Format(time.RFC3339))
	}
	if times.NotBefore == nil {
		return nil
	}
	seconds, err := times.NotBefore.Float64()
	if err != nil {
		return fmt.Errorf("%w: nbf is not a number", ErrToken)
	}
	if begin := time.Unix(int64(seconds), 0); now.Before(begin.Add(-skew)) {
		return fmt.Errorf("%w: it is valid from %s", ErrToken, begin.UTC().Format(time.RFC3339))
	}
	return nil
}

// caller reads the claims.
func (a *Authenticator) caller(token *oidc.IDToken) (access.Caller, error) {
	claims := map[string]any{}
	if err := token.Claims(&claims); err != nil {
		return access.Caller{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	owner, _ := claims[a.settings.OwnerClaim].(string)
	if message := access.CheckOwner(owner); message != "" {
		return access.Caller{}, fmt.Errorf("%w: the claim %s %s", ErrToken, a.settings.OwnerClaim, message)
	}
	// Anybody can give any address at some issuers.
	if verified, said := claims["email_verified"]; a.settings.OwnerClaim == "email" && said && !isTrue(verified) {
		return access.Caller{}, fmt.Errorf("%w: the address %s is not verified", ErrToken, owner)
	}
	role := a.role(claims[a.settings.RoleClaim])
	if role == "" {
		return access.Caller{}, fmt.Errorf("%w: %s has no role in the claim %s", ErrNoRole, owner, a.settings.RoleClaim)
	}
	return access.Caller{Owner: owner, Role: role, Via: "oidc"}, nil
}

// isTrue reports whether a claim is true. Some issuers write it as a string.
func isTrue(claim any) bool {
	text, _ := claim.(string)
	return claim == true || strings.EqualFold(text, "true")
}

// role returns the role that may do most of those that the claim has.
func (a *Authenticator) role(claim any) access.Role {
	var values []string
	switch c := claim.(type) {
	case string:
		values = strings.Fields(c)
	case []any:
		for _, v := range c {
			if s, ok := v.(string); ok {
				values = append(values, s)
			}
		}
	}
	best := access.Role(a.settings.DefaultRole)
	for _, v := range values {
		if r, known := a.roles[v]; known && slices.Index(access.Roles(), r) > slices.Index(access.Roles(), best) {
			best = r
		}
	}
	return best
}

// Problem is what the API answers to an error of Authenticate.
func Problem(err error) error {
	switch {
	case errors.Is(err, ErrUnavailable):
		return fmt.Errorf("%w: %w", job.Refuse(job.ErrUnavailable, "", ErrUnavailable.Error()+", so the token cannot be "+
			"checked; try again in a few seconds"), err)
	case errors.Is(err, ErrNoRole):
		return job.Refuse(job.ErrForbidden, "", err.Error()+"; ask who runs this service for one")
	}
	return job.Refuse(job.ErrUnauthorized, "", err.Error())
}
