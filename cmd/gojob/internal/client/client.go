// Package client makes the calls of the API, and turns its answers into values and errors.
package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go-job-orchestrator/shared/version"
)

// maxAnswer bounds an answer that is read as a whole. A page of a list is at most some 100 KiB.
const maxAnswer = 8 << 20

// Client calls one server.
type Client struct {
	base  *url.URL
	token TokenSource
	http  *http.Client
}

// TokenSource returns what a request proves with who sends it: a key, a token of the OpenID Connect
// issuer, or a token of a job; empty for nothing. It is asked before each request, because tokens of
// an issuer expire.
type TokenSource func(context.Context) (string, error)

// Token is the source of a token that stays the same.
func Token(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// New returns a client of the server at the URL base.
func New(base *url.URL, token TokenSource) *Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 2 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   4,
	}
	c := &Client{base: base, token: token}
	c.http = &http.Client{Transport: transport, CheckRedirect: c.redirect}
	return c
}

// maxRedirects is how many redirects are followed after each other.
const maxRedirects = 5

// redirect decides whether a redirect is followed. Within the server it is. Files may be elsewhere,
// in a bucket, which gets no token: the URL is signed. Any other redirect, and one of a request that
// changes something, is an error that names the place, because a call must not end as another one,
// and the token belongs to this server and scheme alone.
func (c *Client) redirect(r *http.Request, via []*http.Request) error {
	first := via[0]
	safe := first.Method == http.MethodGet || first.Method == http.MethodHead
	same := r.URL.Scheme == c.base.Scheme && strings.EqualFold(r.URL.Host, c.base.Host)
	path := strings.TrimPrefix(first.URL.Path, c.base.Path)
	file := strings.HasPrefix(path, "/outputs/") || strings.HasPrefix(path, "/artifacts/")
	encrypted := r.URL.Scheme == "https" || c.base.Scheme == "http"
	switch {
	case len(via) > maxRedirects || !safe || !same && (!file || !encrypted):
		return http.ErrUseLastResponse
	case !same:
		r.Header.Del("Authorization")
	}
	return nil
}

// Server is the URL of the server, for messages. It has no credentials.
func (c *Client) Server() string { return c.base.Redacted() }

// URL returns the URL of a path of the server. The parts are escaped, and joined by slashes.
func (c *Client) URL(parts ...string) *url.URL {
	return c.base.JoinPath(escaped(parts)...)
}

func escaped(parts []string) []string {
	out := make([]string, len(parts))
	for i, part := range parts {
		out[i] = url.PathEscape(part)
	}
	return out
}

// WithToken returns a client of the same server that sends another token.
func (c *Client) WithToken(token string) *Client {
	other := *c
	other.token = Token(token)
	return &other
}

// Call is one request.
type Call struct {
	Method string
	Path   string // below the URL of the server, escaped, such as /api/v1/jobs
	Query  url.Values
	Header http.Header
	Body   io.Reader // nil for none
	Length int64     // of Body; 0 for unknown
	Token  string    // in place of the client's; empty: the client's
}

// Do makes a call once. The answer is one with status 2xx; its body must be closed. Every other
// answer is an *Error, and a failure to get one an *UnreachableError, or the context's error.
func (c *Client) Do(ctx context.Context, call Call) (*http.Response, error) {
	request, err := c.request(ctx, call)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &UnreachableError{Server: c.Server(), Err: err}
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, readError(c.Server(), call, response)
}

func (c *Client) request(ctx context.Context, call Call) (*http.Request, error) {
	u := *c.base
	raw := strings.TrimSuffix(u.EscapedPath(), "/") + call.Path
	path, err := url.PathUnescape(raw)
	if err != nil {
		return nil, fmt.Errorf("the path %q: %w", call.Path, err)
	}
	u.Path, u.RawPath, u.RawQuery = path, raw, call.Query.Encode()
	request, err := http.NewRequestWithContext(ctx, call.Method, u.String(), call.Body)
	if err != nil {
		return nil, err
	}
	if call.Length > 0 {
		request.ContentLength = call.Length
	}
	for name, values := range call.Header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	request.Header.Set("User-Agent", "gojob/"+version.Get().Version)
	token := call.Token
	if token == "" {
		if token, err = c.token(ctx); err != nil {
			return nil, err
		}
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// JSON makes a call and reads its answer into value, if that is not nil. It returns the answer as it
// was sent, which is what "-o json" prints.
func (c *Client) JSON(ctx context.Context, call Call, value any) (json.RawMessage, error) {
	response, err := c.Do(ctx, call)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, &UnreachableError{Server: c.Server(), Err: err}
	}
	if value == nil || len(raw) == 0 {
		return raw, nil
	}
	if err := json.Unmarshal(raw, value); err != nil {
		return nil, fmt.Errorf("%s does not answer as a server of the Go Job Orchestrator does (%w); "+
			"try: gojob doctor", c.Server(), err)
	}
	return raw, nil
}
