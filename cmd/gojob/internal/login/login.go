// Package login gets tokens from the OpenID Connect issuer of a server, by the device flow, and new
// ones before they expire.
package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"go-job-orchestrator/cmd/gojob/internal/settings"
)

// Server is what a server says about how its callers log in.
type Server struct {
	Modes    []string `json:"modes"`
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"clientID"`
	Audience string   `json:"audience"`
}

// Early is how long before its end a token is replaced.
const Early = time.Minute

const (
	maxDocument    = 1 << 20
	requestTimeout = 30 * time.Second
)

// provider is as much of an issuer's discovery document as the device flow needs.
type provider struct {
	Issuer        string   `json:"issuer"`
	DeviceAuthURL string   `json:"device_authorization_endpoint"`
	TokenURL      string   `json:"token_endpoint"`
	Scopes        []string `json:"scopes_supported"`
}

// Prompt shows the user where to type a code. complete is the URL that has the code already; it may
// be empty.
type Prompt func(page, code, complete string, expires time.Time)

// Device has the user log in at the issuer with a browser, on this machine or another, and waits until
// they have.
func Device(ctx context.Context, server Server, prompt Prompt) (*settings.OIDC, error) {
	if server.ClientID == "" {
		return nil, errors.New("the server names no client for command lines; ask its operator to set OIDC_CLIENT_ID")
	}
	ctx = withClient(ctx)
	p, err := discover(ctx, server.Issuer)
	if err != nil {
		return nil, err
	}
	if p.DeviceAuthURL == "" {
		return nil, fmt.Errorf("the issuer %s has no device flow; log in with a key, or set GOJOB_TOKEN", server.Issuer)
	}
	config := oauth2.Config{ClientID: server.ClientID, Scopes: p.scopes(), Endpoint: oauth2.Endpoint{
		DeviceAuthURL: p.DeviceAuthURL, TokenURL: p.TokenURL, AuthStyle: oauth2.AuthStyleInParams,
	}}
	var options []oauth2.AuthCodeOption
	if server.Audience != server.ClientID { // issuers name the API by this or that parameter
		options = append(options, oauth2.SetAuthURLParam("audience", server.Audience),
			oauth2.SetAuthURLParam("resource", server.Audience))
	}
	device, err := config.DeviceAuth(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("the issuer %s: %w", server.Issuer, explained(err))
	}
	prompt(device.VerificationURI, device.UserCode, device.VerificationURIComplete, device.Expiry)
	token, err := config.DeviceAccessToken(ctx, device)
	if err != nil {
		return nil, fmt.Errorf("the issuer %s: %w", server.Issuer, explained(err))
	}
	o := &settings.OIDC{Issuer: server.Issuer, ClientID: server.ClientID, Audience: server.Audience, TokenURL: p.TokenURL}
	return o, take(o, token)
}

// Refresh gets a new token. The issuer may also replace the refresh token.
func Refresh(ctx context.Context, o settings.OIDC) (*settings.OIDC, error) {
	if o.Refresh == "" {
		return nil, errors.New("the login has expired")
	}
	ctx = withClient(ctx)
	config := oauth2.Config{ClientID: o.ClientID, Endpoint: oauth2.Endpoint{
		TokenURL: o.TokenURL, AuthStyle: oauth2.AuthStyleInParams,
	}}
	token, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: o.Refresh}).Token()
	if err != nil {
		return nil, fmt.Errorf("the issuer %s: %w", o.Issuer, explained(err))
	}
	return &o, take(&o, token)
}

// take keeps what the issuer has answered.
func take(o *settings.OIDC, token *oauth2.Token) error {
	o.Token, o.Expires = token.AccessToken, token.Expiry
	if o.Audience == o.ClientID {
		id, ok := token.Extra("id_token").(string)
		if !ok || id == "" {
			return fmt.Errorf("the issuer %s gave no ID token", o.Issuer)
		}
		o.Token = id
	}
	if at := expiry(o.Token); !at.IsZero() {
		o.Expires = at
	}
	if token.RefreshToken != "" {
		o.Refresh = token.RefreshToken
	}
	return nil
}

// expiry is when a JSON Web Token expires; zero if the text is none. It is not checked: the server
// does that.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Exp float64 }
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0)
}

// scopes are those of the issuer that make tokens which name the user and can be refreshed.
func (p *provider) scopes() []string {
	scopes := []string{"openid"}
	for _, scope := range []string{"offline_access", "email", "profile", "groups"} {
		if slices.Contains(p.Scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// discover reads the issuer's discovery document.
func discover(ctx context.Context, issuer string) (*provider, error) {
	if err := checkURL(issuer); err != nil {
		return nil, fmt.Errorf("the server's issuer %w", err)
	}
	at := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	response, err := client(ctx).Do(request)
	if err != nil {
		return nil, fmt.Errorf("the issuer %s does not answer: %w", issuer, err)
	}
	defer response.Body.Close()
	var p provider
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer %s answered %s to %s", issuer, response.Status, at)
	}
	if p.Issuer != issuer {
		return nil, fmt.Errorf("the issuer %s calls itself %s; ask the operator to correct OIDC_ISSUER", issuer, p.Issuer)
	}
	for _, endpoint := range []string{p.DeviceAuthURL, p.TokenURL} {
		if err := checkURL(endpoint); err != nil && endpoint != "" {
			return nil, fmt.Errorf("the issuer's endpoint %w", err)
		}
	}
	return &p, nil
}

// checkURL demands that what goes to a URL is encrypted, unless that is on this machine.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is not a URL", text)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !settings.Loopback(u.Hostname())) {
		return fmt.Errorf("%s is not https", text)
	}
	return nil
}

// explained is an error of the library as a sentence.
func explained(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.ErrorCode {
	case "access_denied":
		return errors.New("the login was refused")
	case "expired_token":
		return errors.New("nobody typed the code in time")
	case "invalid_grant":
		return errors.New("the login has ended there")
	case "":
		return fmt.Errorf("it answered %s", refused.Response.Status)
	}
	return fmt.Errorf("%s %s", refused.ErrorCode, refused.ErrorDescription)
}

// withClient has the library use a client that follows no redirect, because what it sends is secret.
func withClient(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}

func client(ctx context.Context) *http.Client {
	if c, ok := ctx.Value(oauth2.HTTPClient).(*http.Client); ok {
		return c
	}
	return http.DefaultClient
}
