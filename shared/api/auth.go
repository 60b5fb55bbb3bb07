package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// Verifier tells whether a token opens a job; token.Keys is one.
type Verifier interface {
	Verify(token string, id job.ID, scopes ...token.Scope) bool
}

// Authorize returns the job that the path parameter "id" names if the request carries a token that opens it
// in one of the scopes. Without a token the error is of kind job.ErrUnauthorized; otherwise it is of kind job.ErrForbidden,
// the same for a job that does not exist as for somebody else's. Nothing is read to find out.
func Authorize(r *http.Request, p httprouter.Params, keys Verifier, scopes ...token.Scope) (job.ID, error) {
	bearer, err := bearerToken(r)
	if err != nil {
		return "", err
	}
	id, err := job.ParseID(p.ByName("id"))
	if err != nil || !keys.Verify(bearer, id, scopes...) {
		return "", fmt.Errorf("token of another job: %w", job.ErrForbidden)
	}
	return id, nil
}

// bearerToken reads the credentials of RFC 6750, section 2.1. Several Authorization headers are refused,
// since proxies and servers disagree on which one counts.
func bearerToken(r *http.Request) (string, error) {
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
