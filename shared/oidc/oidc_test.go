package oidc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/oidc"
)

const audience = "gojob"

// issuer is a real server of OpenID Connect over TLS.
type issuer struct {
	*httptest.Server
	inner *oidctest.Server
	asked atomic.Int64 // requests
	down  atomic.Bool
}

func newIssuer(t *testing.T, keys ...oidctest.PublicKey) *issuer {
	t.Helper()
	i := &issuer{inner: &oidctest.Server{PublicKeys: keys, Algorithms: []string{"RS256", "ES256"}}}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		if i.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		i.inner.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	i.inner.SetIssuer(i.URL)
	return i
}

func (i *issuer) settings() oidc.Settings {
	return oidc.Settings{Issuer: i.URL, Audience: audience, OwnerClaim: "sub", RoleClaim: "roles"}
}

func (i *issuer) authenticator(t *testing.T, s oidc.Settings, now func() time.Time) *oidc.Authenticator {
	t.Helper()
	a, err := oidc.New(s, i.Client(), now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// claims of a good token, with changes; nil takes a claim away.
func (i *issuer) claims(changes map[string]any) string {
	all := map[string]any{"iss": i.URL, "aud": audience, "sub": "ann", "roles": []string{"user"},
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	data, _ := json.Marshal(all)
	return string(data)
}

func rsaKey(t *testing.T, id string) (*rsa.PrivateKey, oidctest.PublicKey) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k, oidctest.PublicKey{PublicKey: k.Public(), KeyID: id, Algorithm: "RS256"}
}

func sign(key crypto.PrivateKey, id, claims string) string {
	return oidctest.SignIDToken(key, id, "RS256", claims)
}

func TestAuthenticate(t *testing.T) {
	key, public := rsaKey(t, "one")
	other, _ := rsaKey(t, "one")
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := newIssuer(t, public, oidctest.PublicKey{PublicKey: elliptic.Public(), KeyID: "ec", Algorithm: "ES256"})
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	good := sign(key, "one", i.claims(nil))
	parts := strings.Split(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"good":                    {good, nil},
		"by an elliptic curve":    {oidctest.SignIDToken(elliptic, "ec", "ES256", i.claims(nil)), nil},
		"of several audiences":    {sign(key, "one", i.claims(map[string]any{"aud": []string{"x", audience}})), nil},
		"expired within the skew": {sign(key, "one", i.claims(map[string]any{"exp": in(-20 * time.Second)})), nil},
		"expired":                 {sign(key, "one", i.claims(map[string]any{"exp": in(-time.Minute)})), oidc.ErrToken},
		"without an end":          {sign(key, "one", i.claims(map[string]any{"exp": nil})), oidc.ErrToken},
		"not valid yet":           {sign(key, "one", i.claims(map[string]any{"nbf": in(time.Minute)})), oidc.ErrToken},
		"valid within the skew":   {sign(key, "one", i.claims(map[string]any{"nbf": in(20 * time.Second)})), nil},
		"of another issuer": {sign(key, "one", i.claims(map[string]any{"iss": "https://evil.example"})),
			oidc.ErrToken},
		"for another audience":     {sign(key, "one", i.claims(map[string]any{"aud": "other"})), oidc.ErrToken},
		"without an audience":      {sign(key, "one", i.claims(map[string]any{"aud": nil})), oidc.ErrToken},
		"signed by another":        {sign(other, "one", i.claims(nil)), oidc.ErrToken},
		"of an unknown key":        {sign(other, "two", i.claims(nil)), oidc.ErrToken},
		"without a name":           {sign(key, "one", i.claims(map[string]any{"sub": nil})), oidc.ErrToken},
		"with a name that is none": {sign(key, "one", i.claims(map[string]any{"sub": "a\nb"})), oidc.ErrToken},
		"without a role":           {sign(key, "one", i.claims(map[string]any{"roles": nil})), oidc.ErrNoRole},
		"with a role nobody knows": {sign(key, "one", i.claims(map[string]any{"roles": "root"})), oidc.ErrNoRole},
		"without a signature":      {parts[0] + "." + parts[1] + ".", oidc.ErrToken},
		"of other claims": {parts[0] + "." + encode([]byte(i.claims(map[string]any{"sub": "x"}))) + "." +
			parts[2], oidc.ErrToken},
		"by no algorithm": {encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", oidc.ErrToken},
		"by the public key's secret": {encode([]byte(`{"alg":"HS256","kid":"one"}`)) + "." + parts[1] + "." + parts[2],
			oidc.ErrToken},
		"not a token": {"a.b.c", oidc.ErrToken},
		"empty":       {"", oidc.ErrToken},
		"huge":        {strings.Repeat("a", 1<<20), oidc.ErrToken},
	} {
		a := i.authenticator(t, i.settings(), time.Now) // each may ask the issuer a few times only
		got, err := a.Authenticate(t.Context(), test.token)
		if !errors.Is(err, test.want) || test.want == nil &&
			got != (access.Caller{Owner: "ann", Role: access.User, Via: "oidc"}) ||
			test.want != nil && got != (access.Caller{}) {
			t.Errorf("a token %s: %+v, %v; want %v", name, got, err, test.want)
		}
	}
}

func TestClaims(t *testing.T) {
	key, public := rsaKey(t, "one")
	i := newIssuer(t, public)
	groups := func(s *oidc.Settings) {
		s.RoleClaim, s.Roles = "groups", []string{"platform=admin", "devs=user", "all=read"}
	}
	email := func(s *oidc.Settings) { s.OwnerClaim = "email" }
	for name, test := range map[string]struct {
		set    func(*oidc.Settings)
		claims map[string]any
		owner  string // empty: refused
		role   access.Role
	}{
		"a name of others": {nil, map[string]any{"sub": "auth0|5f-_", "roles": "read"}, "auth0|5f-_", access.Read},
		"the longest name": {nil, map[string]any{"sub": strings.Repeat("-", 255), "roles": "read"},
			strings.Repeat("-", 255), access.Read},
		"a name that is too long": {nil, map[string]any{"sub": strings.Repeat("a", 256), "roles": "read"}, "", ""},
		"one role":                {nil, map[string]any{"roles": "read"}, "ann", access.Read},
		"roles in one string":     {nil, map[string]any{"roles": "read other user"}, "ann", access.User},
		"the highest of roles":    {nil, map[string]any{"roles": []any{"read", "admin", 7, "user"}}, "ann", access.Admin},
		"groups":                  {groups, map[string]any{"groups": []string{"all", "devs"}}, "ann", access.User},
		"groups of nobody":        {groups, map[string]any{"groups": []string{"guests"}}, "", ""},
		"a default role": {func(s *oidc.Settings) { groups(s); s.DefaultRole = "read" },
			map[string]any{"groups": []string{"guests"}}, "ann", access.Read},
		"a default is the least": {func(s *oidc.Settings) { groups(s); s.DefaultRole = "user" },
			map[string]any{"groups": []string{"platform", "all"}}, "ann", access.Admin},
		"an address": {email, map[string]any{"email": "ann@example.com", "email_verified": true},
			"ann@example.com", access.User},
		"an unverified address": {email, map[string]any{"email": "ann@example.com", "email_verified": false}, "", ""},
		"an unverified address as a string": {email,
			map[string]any{"email": "ann@example.com", "email_verified": "false"}, "", ""},
		"a verified address as a string": {email, map[string]any{"email": "ann@example.com", "email_verified": "true"},
			"ann@example.com", access.User},
		"an address of which nothing is said": {email, map[string]any{"email": "ann@example.com", "email_verified": nil},
			"ann@example.com", access.User},
		"no address":              {email, nil, "", ""},
		"an address of no string": {email, map[string]any{"email": 7}, "", ""},
	} {
		s := i.settings()
		if test.set != nil {
			test.set(&s)
		}
		got, err := i.authenticator(t, s, time.Now).Authenticate(t.Context(), sign(key, "one", i.claims(test.claims)))
		if got.Owner != test.owner || got.Role != test.role || (err == nil) != (test.owner != "") {
			t.Errorf("%s: %+v, %v; want %q, %q", name, got, err, test.owner, test.role)
		}
	}
}

// TestRotation has the issuer sign with a new key, and then take the old one away.
func TestRotation(t *testing.T) {
	old, oldPublic := rsaKey(t, "old")
	next, nextPublic := rsaKey(t, "next")
	i := newIssuer(t, oldPublic)
	a := i.authenticator(t, i.settings(), time.Now)
	ask := func(key crypto.PrivateKey, id string) error {
		_, err := a.Authenticate(t.Context(), sign(key, id, i.claims(nil)))
		return err
	}
	if err := ask(old, "old"); err != nil {
		t.Fatal(err)
	}
	i.inner.PublicKeys = []oidctest.PublicKey{oldPublic, nextPublic}
	for key, id := range map[*rsa.PrivateKey]string{old: "old", next: "next"} {
		if err := ask(key, id); err != nil {
			t.Errorf("%s while both are valid: %v", id, err)
		}
	}
}

// TestIssuerAway starts without an issuer, and loses it later.
func TestIssuerAway(t *testing.T) {
	key, public := rsaKey(t, "one")
	i := newIssuer(t, public)
	i.down.Store(true)
	now := time.Now()
	a := i.authenticator(t, i.settings(), func() time.Time { return now })
	good := sign(key, "one", i.claims(nil))
	for range 20 {
		if _, err := a.Authenticate(t.Context(), good); !errors.Is(err, oidc.ErrUnavailable) {
			t.Fatalf("without an issuer: %v", err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times at once, want 1", n)
	}
	i.down.Store(false)
	now = now.Add(5 * time.Second)
	if _, err := a.Authenticate(t.Context(), good); err != nil {
		t.Errorf("once it is there: %v", err)
	}
	i.down.Store(true)
	if _, err := a.Authenticate(t.Context(), good); err != nil {
		t.Errorf("with keys that are known: %v", err)
	}
	stranger, _ := rsaKey(t, "two")
	if _, err := a.Authenticate(t.Context(), sign(stranger, "two", i.claims(nil))); !errors.Is(err, oidc.ErrUnavailable) {
		t.Errorf("with a key that nobody can tell: %v", err)
	}
}

// TestFlood sends tokens with keys that nobody knows. The issuer must be left in peace.
func TestFlood(t *testing.T) {
	key, public := rsaKey(t, "one")
	i := newIssuer(t, public)
	a := i.authenticator(t, i.settings(), time.Now)
	began := time.Now()
	for n := range 200 {
		if _, err := a.Authenticate(t.Context(), sign(key, fmt.Sprint(n), i.claims(nil))); err == nil {
			t.Fatal("a token of an unknown key is taken")
		}
	}
	if most := 6 + int64(time.Since(began).Seconds()); i.asked.Load() > most {
		t.Errorf("asked %d times in %s, want %d at most", i.asked.Load(), time.Since(began), most)
	}
	if _, err := a.Authenticate(t.Context(), sign(key, "one", i.claims(nil))); err != nil {
		t.Errorf("a good token then: %v", err)
	}
}

func TestSettings(t *testing.T) {
	good := oidc.Settings{Issuer: "https://id.example.com", Audience: "gojob", OwnerClaim: "sub", RoleClaim: "roles"}
	for name, test := range map[string]struct {
		change func(*oidc.Settings)
		want   string // in the error; empty: none
	}{
		"good":              {func(*oidc.Settings) {}, ""},
		"none":              {func(s *oidc.Settings) { *s = oidc.Settings{} }, ""},
		"http":              {func(s *oidc.Settings) { s.Issuer = "http://id.example.com" }, "OIDC_ISSUER"},
		"http on loopback":  {func(s *oidc.Settings) { s.Issuer = "http://127.0.0.1:1" }, ""},
		"not a URL":         {func(s *oidc.Settings) { s.Issuer = "id.example.com" }, "OIDC_ISSUER"},
		"no audience":       {func(s *oidc.Settings) { s.Audience = "" }, "OIDC_AUDIENCE"},
		"no owner":          {func(s *oidc.Settings) { s.OwnerClaim = "" }, "OIDC_OWNER_CLAIM"},
		"roles":             {func(s *oidc.Settings) { s.Roles = []string{"a=admin", "b"} }, "OIDC_ROLES"},
		"a role nobody has": {func(s *oidc.Settings) { s.Roles = []string{"a=root"} }, "OIDC_ROLES"},
		"a default":         {func(s *oidc.Settings) { s.DefaultRole = "root" }, "OIDC_DEFAULT_ROLE"},
	} {
		s := good
		test.change(&s)
		if err := s.Check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	all := oidc.Settings{Issuer: "x", Roles: []string{"a"}, DefaultRole: "b"}
	for _, name := range []string{"OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_OWNER_CLAIM", "OIDC_ROLES", "OIDC_DEFAULT_ROLE"} {
		if err := all.Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

func TestProblem(t *testing.T) {
	for from, want := range map[error]error{oidc.ErrToken: job.ErrUnauthorized, oidc.ErrNoRole: job.ErrForbidden,
		oidc.ErrUnavailable: job.ErrUnavailable} {
		if got := oidc.Problem(fmt.Errorf("x: %w", from)); !errors.Is(got, want) {
			t.Errorf("%v becomes %v, want %v", from, got, want)
		}
		var told *job.Faults // what the caller is told
		if got := oidc.Problem(fmt.Errorf("secret: %w", from)); !errors.As(got, &told) || told.Error() == "" {
			t.Errorf("%v becomes %v, which tells the caller nothing", from, got)
		}
	}
}
