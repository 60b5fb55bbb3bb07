package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/login"
	"go-job-orchestrator/cmd/gojob/internal/settings"
)

// loginError says that the stored login is not valid any more.
type loginError struct {
	server string
	err    error
}

func (e *loginError) Error() string {
	return fmt.Sprintf("%s: %s; log in again with: gojob login %s", e.server, e.err, e.server)
}

func (e *loginError) Unwrap() error { return e.err }

// tokens is what a client of the target sends. Tokens of an issuer are replaced before they expire,
// also while a command follows a job for hours.
func (a *app) tokens(target settings.Target) client.TokenSource {
	if target.Credential == nil || target.Credential.OIDC == nil {
		return client.Token(target.Token)
	}
	r := &refresher{dirs: a.dirs, now: a.now, credential: *target.Credential}
	return r.token
}

// refresher has the tokens of an issuer.
type refresher struct {
	dirs settings.Dirs
	now  func() time.Time

	mu         sync.Mutex
	credential settings.Credential
}

func (r *refresher) token(ctx context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fresh() {
		return r.credential.OIDC.Token, nil
	}
	err := settings.Refreshing(ctx, r.dirs, func() error { return r.refresh(ctx) })
	if err == nil || r.now().Before(r.credential.OIDC.Expires) { // it is tried again with the next request
		return r.credential.OIDC.Token, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	var network net.Error
	var address *url.Error
	if errors.As(err, &network) || errors.As(err, &address) {
		return "", &client.UnreachableError{Server: r.credential.OIDC.Issuer, Err: err}
	}
	return "", &loginError{server: r.credential.URL, err: err}
}

func (r *refresher) fresh() bool { return r.now().Add(login.Early).Before(r.credential.OIDC.Expires) }

// refresh gets a new token, unless another gojob has done so meanwhile.
func (r *refresher) refresh(ctx context.Context) error {
	list, err := settings.LoadCredentials(r.dirs)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Context == r.credential.Context && c.URL == r.credential.URL && c.OIDC != nil {
			r.credential = c
		}
	}
	if r.fresh() {
		return nil
	}
	renewed, err := login.Refresh(ctx, *r.credential.OIDC)
	if err != nil {
		return err
	}
	r.credential.OIDC = renewed
	return settings.SaveCredential(r.dirs, r.credential)
}

// keyID is the part of a key that names it and is no secret; empty if the token is no key.
func keyID(token string) string {
	rest, isKey := strings.CutPrefix(token, "gojob_")
	id, _, found := strings.Cut(rest, "_")
	if !isKey || !found || len(id) > 20 {
		return ""
	}
	return id
}
