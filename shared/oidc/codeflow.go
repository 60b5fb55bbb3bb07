package oidc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"go-job-orchestrator/shared/access"
)

// Begun is a login that has begun: what the gateway has to know when the browser comes back.
type Begun struct {
	URL      string `json:"-"` // of the issuer, for the browser
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE (RFC 7636)
}

// Begin begins the code flow with PKCE as the public client. redirect is where the issuer sends the
// browser back. The error is of kind ErrUnavailable if the issuer does not answer.
func (a *Authenticator) Begin(r *http.Request, redirect string) (Begun, error) {
	config, err := a.browserClient(r.Context(), redirect)
	if err != nil {
		return Begun{}, err
	}
	b := Begun{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	b.URL = config.AuthCodeURL(b.State, oauth2.S256ChallengeOption(b.Verifier), oidc.Nonce(b.Nonce))
	return b, nil
}

// Finish exchanges the code in a browser's request for a token, and returns whose it is. The errors
// are those of Authenticate.
func (a *Authenticator) Finish(r *http.Request, redirect string, b Begun) (access.Caller, error) {
	config, err := a.browserClient(r.Context(), redirect)
	if err != nil {
		return access.Caller{}, err
	}
	ctx := oidc.ClientContext(r.Context(), a.browsers)
	token, err := config.Exchange(ctx, r.URL.Query().Get("code"), oauth2.VerifierOption(b.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
			return access.Caller{}, fmt.Errorf("%w: the issuer refused the code: %s", ErrToken, refused.ErrorCode)
		}
		return access.Caller{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	id, _ := token.Extra("id_token").(string)
	if nonceOf(id) != b.Nonce {
		return access.Caller{}, fmt.Errorf("%w: its nonce is that of another login", ErrToken)
	}
	if a.settings.Audience != a.settings.ClientID { // the issuer has made the access token for this service
		return a.Authenticate(r.Context(), token.AccessToken)
	}
	return a.Authenticate(r.Context(), id)
}

// nonceOf reads the nonce of an ID token. It came from the issuer itself, so its signature needs no
// check for that.
func nonceOf(raw string) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return ""
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Nonce string `json:"nonce"`
	}
	if err != nil || json.Unmarshal(data, &claims) != nil {
		return ""
	}
	return claims.Nonce
}

// browserClient is the client of OAuth 2.0 that this service is for browsers.
func (a *Authenticator) browserClient(ctx context.Context, redirect string) (*oauth2.Config, error) {
	if a.settings.ClientID == "" {
		return nil, errors.New("OIDC_CLIENT_ID is not set")
	}
	if _, err := a.discover(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	endpoint := a.endpoint
	endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client has no secret to send in a header
	return &oauth2.Config{ClientID: a.settings.ClientID, Endpoint: endpoint, RedirectURL: redirect,
		Scopes: a.settings.Scopes}, nil
}
