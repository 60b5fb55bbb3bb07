package api

import (
	"fmt"
	"net/http"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// Verifier reports whether a token opens a job. token.Keys is a Verifier.
type Verifier interface {
	Verify(token string, id job.ID, scopes ...token.Scope) bool
}

// HasToken reports whether a request has a token that opens the job in one of the scopes.
func HasToken(r *http.Request, id job.ID, keys Verifier, scopes ...token.Scope) bool {
	bearer, err := Bearer(r)
	return err == nil && keys.Verify(bearer, id, scopes...)
}

// Bearer returns the token from the Authorization header (RFC 6750, section 2.1). It refuses
// several Authorization headers, because proxies and servers disagree on which one counts.
func Bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", BadRequest("Authorization", "was sent more than once; send one token")
	}
	if len(values) == 0 {
		return "", fmt.Errorf("no token: %w", job.ErrUnauthorized)
	}
	scheme, bearer, _ := strings.Cut(values[0], " ")
	bearer = strings.TrimSpace(bearer)
	if !strings.EqualFold(scheme, "Bearer") || bearer == "" {
		return "", fmt.Errorf("other credentials than a bearer token: %w", job.ErrUnauthorized)
	}
	return bearer, nil
}
