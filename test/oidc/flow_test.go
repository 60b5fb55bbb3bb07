// Package oidc_test has users log in at a real issuer by the flows of command lines and pages, and
// call the API with what they get. It is a module of its own, because nothing else needs an issuer.
package oidc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	rp "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/oidc"
	"go-job-orchestrator/shared/page"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/token"
)

// ring is a keyring of one process.
type ring struct{ access.Keyring }

func (r *ring) Lookup(key string) (access.Caller, error) {
	k, err := r.Keyring.Lookup(key, time.Now())
	if err != nil {
		return access.Caller{}, err
	}
	return k.Caller(), nil
}

// gateway serves function status behind a gateway that trusts the issuer, and returns its URL and a
// key that it takes too.
func gateway(t *testing.T, i *issuer) (base, key string) {
	t.Helper()
	env := platform.New(map[string]string{
		"STORAGE_DIR": t.TempDir(), "AUTH": "keys,oidc", "OIDC_ISSUER": i.URL, "OIDC_AUDIENCE": "cli",
		"TOKEN_KEYS":     base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32)),
		"OIDC_CLIENT_ID": "cli", "OIDC_ROLE_CLAIM": "groups", "OIDC_ROLES": "platform-team=admin,developers=user",
	}, slog.New(slog.DiscardHandler))
	var s auth.Settings
	if err := env.Load(&s); err != nil {
		t.Fatal(err)
	}
	authenticator, err := oidc.New(s.Settings, i.Client(), env.Now)
	if err != nil {
		t.Fatal(err)
	}
	keys := &ring{}
	key, _, err = keys.Add(access.Request{Name: "ci", Role: access.Read}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.New([]byte(strings.Repeat("k", token.MinKeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := status.New(status.Deps{Env: env, Login: s.Login(false)})
	if err != nil {
		t.Fatal(err)
	}
	g := auth.New(auth.Deps{Keys: keys, Issuer: authenticator, Sealer: tokens, Log: env.Log, Now: env.Now})
	router := api.NewRouter(env.Log).Guarded(guard.New(guard.Deps{Identify: g.Identify, Tokens: tokens, Now: env.Now}))
	f.Mount(router)
	page.Mount(router, g)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	return server.URL, key
}

// get makes a call, and reads the JSON that is answered.
func get(t *testing.T, url, bearer string, into any) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		t.Fatalf("%s: %s %s: %v", url, got.Status, body, err)
	}
	return got.StatusCode
}

// who returns the caller that a token is of, and the status of the answer.
func who(t *testing.T, base, bearer string) (caller string, status int) {
	t.Helper()
	var c struct{ Owner, Role, Via string }
	status = get(t, base+"/api/v1/whoami", bearer, &c)
	return strings.TrimSpace(c.Owner + " " + c.Role + " " + c.Via), status
}

// login is what a command line does: it asks the server how to log in, and the issuer for its
// endpoints. Its client has no secret.
func login(t *testing.T, i *issuer, base string) (context.Context, *oauth2.Config) {
	t.Helper()
	var server struct{ Auth access.Login }
	if status := get(t, base+"/api/v1/server", "", &server); status != http.StatusOK || server.Auth.ClientID == "" {
		t.Fatalf("%d %+v", status, server)
	}
	ctx := rp.ClientContext(t.Context(), i.browser())
	provider, err := rp.NewProvider(ctx, server.Auth.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	return ctx, &oauth2.Config{ClientID: server.Auth.ClientID, Endpoint: endpoint, RedirectURL: callback,
		Scopes: []string{rp.ScopeOpenID}}
}

// submit fills in the form at a page of the issuer.
func submit(t *testing.T, i *issuer, page, user, password string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page,
		strings.NewReader(url.Values{"user": {user}, "password": {password}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got, err := i.browser().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Body.Close()
	return got
}

// byCode logs a user in by the code flow with PKCE.
func byCode(ctx context.Context, t *testing.T, i *issuer, c *oauth2.Config, user string) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	code := codeFor(t, i, c.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), user)
	got, err := c.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// codeFor has a user log in at the page that a URL leads to, and returns the code that the issuer sends
// back.
func codeFor(t *testing.T, i *issuer, at, user string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	page, err := i.browser().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = page.Body.Close()
	if page.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", at, page.Status, page.Header)
	}
	back, err := url.Parse(submit(t, i, page.Request.URL.String(), user, password).Header.Get("Location"))
	if err != nil || back.Query().Get("code") == "" || back.Query().Get("state") != "state" {
		t.Fatalf("sent back to %v: %v", back, err)
	}
	return back.Query().Get("code")
}

// byDevice logs a user in by the device flow: the user types the code at another machine.
func byDevice(ctx context.Context, t *testing.T, i *issuer, c *oauth2.Config, user string) *oauth2.Token {
	t.Helper()
	device, err := c.DeviceAuth(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := submit(t, i, device.VerificationURIComplete, user, "wrong"); got.StatusCode != http.StatusForbidden {
		t.Fatalf("a wrong password: %s", got.Status)
	}
	if got := submit(t, i, device.VerificationURIComplete, user, password); got.StatusCode != http.StatusOK {
		t.Fatalf("at %s: %s", device.VerificationURIComplete, got.Status)
	}
	got, err := c.DeviceAccessToken(ctx, device)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// idToken returns the ID token of an answer.
func idToken(t *testing.T, from *oauth2.Token) string {
	t.Helper()
	text, ok := from.Extra("id_token").(string)
	if !ok {
		t.Fatal("there is no ID token")
	}
	return text
}

// TestFlows logs users in by both flows. The group that the issuer says they have gives their role.
func TestFlows(t *testing.T) {
	i := newIssuer(t, users{"ann": "developers", "root": "platform-team", "eve": "visitors"}, "cli", "other")
	base, key := gateway(t, i)
	ctx, c := login(t, i, base)
	for flow, run := range map[string]func(context.Context, *testing.T, *issuer, *oauth2.Config, string) *oauth2.Token{
		"code": byCode, "device": byDevice,
	} {
		for user, want := range map[string]string{"ann": "ann user oidc", "root": "root admin oidc"} {
			got := run(ctx, t, i, c, user)
			for kind, text := range map[string]string{"ID token": idToken(t, got), "access token": got.AccessToken} {
				if caller, status := who(t, base, text); caller != want || status != http.StatusOK {
					t.Errorf("%s flow, %s of %s: %q %d, want %q", flow, kind, user, caller, status, want)
				}
			}
		}
		if _, status := who(t, base, idToken(t, run(ctx, t, i, c, "eve"))); status != http.StatusForbidden {
			t.Errorf("%s flow, a user without a role: %d, want 403", flow, status)
		}
		other := *c
		other.ClientID = "other"
		got := run(ctx, t, i, &other, "root")
		for kind, text := range map[string]string{"ID token": idToken(t, got), "access token": got.AccessToken} {
			if caller, status := who(t, base, text); status != http.StatusUnauthorized {
				t.Errorf("%s flow, %s for another audience: %q %d, want 401", flow, kind, caller, status)
			}
		}
	}
	if caller, status := who(t, base, key); !strings.HasPrefix(caller, "ci read key ") || status != http.StatusOK {
		t.Errorf("a key beside OpenID Connect: %q %d", caller, status)
	}
	if caller, status := who(t, base, ""); status != http.StatusUnauthorized {
		t.Errorf("nobody: %q %d", caller, status)
	}
}

// TestStolenCode redeems a code without what PKCE demands: only the client that began the flow has it.
func TestStolenCode(t *testing.T) {
	i := newIssuer(t, users{"ann": "developers"}, "cli")
	base, _ := gateway(t, i)
	ctx, c := login(t, i, base)
	for name, options := range map[string][]oauth2.AuthCodeOption{
		"without a verifier": nil, "with another verifier": {oauth2.VerifierOption(oauth2.GenerateVerifier())},
	} {
		code := codeFor(t, i, c.AuthCodeURL("state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())), "ann")
		var refused *oauth2.RetrieveError
		if got, err := c.Exchange(ctx, code, options...); !errors.As(err, &refused) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestRotation has the issuer replace its key. The gateway takes tokens by the new key without a
// restart, and no longer those by the old one.
func TestRotation(t *testing.T) {
	i := newIssuer(t, users{"ann": "developers"}, "cli")
	base, _ := gateway(t, i)
	ctx, c := login(t, i, base)
	old := idToken(t, byCode(ctx, t, i, c, "ann"))
	if caller, status := who(t, base, old); status != http.StatusOK {
		t.Fatalf("by the first key: %q %d", caller, status)
	}
	i.rotate("two")
	if caller, status := who(t, base, idToken(t, byCode(ctx, t, i, c, "ann"))); status != http.StatusOK {
		t.Errorf("by the second key: %q %d", caller, status)
	}
	if caller, status := who(t, base, old); status != http.StatusUnauthorized {
		t.Errorf("by a key that the issuer has withdrawn: %q %d", caller, status)
	}
}
