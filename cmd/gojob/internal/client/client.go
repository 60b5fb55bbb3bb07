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
	token string
	http  *http.Client
}

// New returns a client of the server at the URL base. The token is a key, a token of the OpenID
// Connect issuer, or a token of a job; empty for none.
func New(base *url.URL, token string) *Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 2 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   4,
	}
	return &Client{base: base, token: token, http: &http.Client{Transport: transport}}
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
	other.token = token
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
	if token := call.Token; token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	} else if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
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
