package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// users of the issuer, by name: each has a group.
type users map[string]string

func (u users) GetUserByID(id string) *storage.User {
	if _, known := u[id]; !known {
		return nil
	}
	return &storage.User{ID: id, Username: id, Password: password}
}

func (u users) GetUserByUsername(name string) *storage.User { return u.GetUserByID(name) }

func (users) ExampleClientID() string { return "service" }

const password = "correct horse"

// signingKey is a key of the issuer.
type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

func (k *signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k *signingKey) Algorithm() jose.SignatureAlgorithm          { return jose.RS256 }
func (k *signingKey) Use() string                                 { return "sig" }
func (k *signingKey) ID() string                                  { return k.id }
func (k *signingKey) Key() any                                    { return k.key }

// publicKey is what the issuer publishes of a key.
type publicKey struct{ *signingKey }

func (k publicKey) Key() any { return k.key.Public() }

// client is a public client: it has no secret, and may use both flows. Its access tokens are JSON Web
// Tokens.
type client struct{ *storage.Client }

func (client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeDeviceCode, oidc.GrantTypeRefreshToken}
}
func (client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// In ID tokens are the user's groups.
func (client) IDTokenUserinfoClaimsAssertion() bool { return true }

// state is the issuer's: the library's example, with groups, and with keys that can be replaced.
type state struct {
	*storage.Storage
	users users

	mu  sync.Mutex
	key *signingKey
}

func (s *state) current() *signingKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

func (s *state) SigningKey(context.Context) (op.SigningKey, error) { return s.current(), nil }

func (s *state) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{s.current()}}, nil
}

func (s *state) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{found.(*storage.Client)}, nil
}

// CreateAccessAndRefreshTokens notes whose client it was also in the device flow, which the example
// forgets, so that the refresh token can be used.
func (s *state) CreateAccessAndRefreshTokens(
	ctx context.Context, request op.TokenRequest, current string,
) (access, refresh string, expires time.Time, err error) {
	if d, ok := request.(*op.DeviceAuthorizationState); ok {
		request = &storage.AuthRequest{ApplicationID: d.ClientID, UserID: d.Subject, Scopes: d.Scopes}
	}
	return s.Storage.CreateAccessAndRefreshTokens(ctx, request, current)
}

func (s *state) SetUserinfoFromRequest(
	ctx context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string,
) error {
	info.AppendClaims("groups", []string{s.users[r.GetSubject()]})
	return s.Storage.SetUserinfoFromRequest(ctx, info, r, scopes)
}

func (s *state) GetPrivateClaimsFromScopes(
	_ context.Context, user, _ string, _ []string,
) (map[string]any, error) {
	return map[string]any{"groups": []string{s.users[user]}}, nil
}

// issuer is a certified implementation of OpenID Connect, over TLS.
type issuer struct {
	*httptest.Server
	t     *testing.T
	state *state
}

const (
	callback     = "http://localhost/auth/callback"
	pageCallback = "http://localhost/ui/login/callback"
)

// newIssuer serves an issuer with these clients.
func newIssuer(t *testing.T, u users, clients ...string) *issuer {
	t.Helper()
	registered := map[string]*storage.Client{}
	for _, id := range clients {
		registered[id] = storage.NativeClient(id, callback, pageCallback)
	}
	i := &issuer{t: t, state: &state{Storage: storage.NewStorageWithClients(u, registered), users: u}}
	i.rotate("one")
	var handler http.Handler
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: sha256.Sum256([]byte(rand.Text())), CodeMethodS256: true, GrantTypeRefreshToken: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime: time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20,
		},
	}, i.state, op.StaticIssuer(i.URL), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.Handle("GET /login/username", formPage(
		`<form method="post"><input name="user"><input name="password" type="password"><button>Log in</button></form>`))
	mux.Handle("POST /login/username", op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			id := r.FormValue("authRequestID")
			if err := i.state.CheckUsernamePassword(r.PostFormValue("user"), r.PostFormValue("password"), id); err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
			http.Redirect(w, r, op.AuthCallbackURL(provider)(r.Context(), id), http.StatusFound)
		}))
	mux.Handle("GET /device", formPage(`<form method="post">`))
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		user := r.PostFormValue("user")
		err := i.state.CheckUsernamePasswordSimple(user, r.PostFormValue("password"))
		if err == nil {
			err = i.state.CompleteDeviceAuthorization(r.Context(), r.FormValue("user_code"), user)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	handler = mux
	return i
}

// formPage is a form for people.
func formPage(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

// rotate replaces the issuer's key.
func (i *issuer) rotate(id string) {
	i.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.t.Fatal(err)
	}
	i.state.mu.Lock()
	i.state.key = &signingKey{id, key}
	i.state.mu.Unlock()
}

// browser is a client that trusts the issuer, and stops where the issuer sends the user back.
func (i *issuer) browser() *http.Client {
	c := *i.Client()
	c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if slices.Contains([]string{callback}, r.URL.Scheme+"://"+r.URL.Host+r.URL.Path) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &c
}
