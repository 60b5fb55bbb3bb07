package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// Verifier reports whether a token opens a job. token.Keys is a Verifier.
type Verifier interface {
	Verify(token string, id job.ID, scopes ...token.Scope) bool
}

// Authorize returns the job that the path parameter "id" names, if the request has a token that
// opens it in one of the scopes. Without a token the error is of kind job.ErrUnauthorized. With a
// wrong token it is of kind job.ErrForbidden, and the same for a job that does not exist as for
// somebody else's. This reads nothing from the bucket.
func Authorize(r *http.Request, p httprouter.Params, keys Verifier, scopes ...token.Scope) (job.ID, error) {
	bearer, err := Bearer(r)
	if err != nil {
		return "", err
	}
	id, err := job.ParseID(p.ByName("id"))
	if err != nil || !keys.Verify(bearer, id, scopes...) {
		return "", fmt.Errorf("token of another job: %w", job.ErrForbidden)
	}
	return id, nil
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

// OwnerVerifier returns the owner of a token. token.Keys is an OwnerVerifier.
type OwnerVerifier interface {
	VerifyOwner(token string) (job.ID, bool)
}

// AuthorizeOwner returns the owner whose token the request has. Without a token the error is of
// kind job.ErrUnauthorized. With a token that is not an owner's it is of kind job.ErrForbidden.
// This reads nothing from the bucket.
func AuthorizeOwner(r *http.Request, keys OwnerVerifier) (job.ID, error) {
	bearer, err := Bearer(r)
	if errors.Is(err, job.ErrUnauthorized) {
		return "", job.Refuse(job.ErrUnauthorized, "", "send the token from the answer to the PUT of a template: "+
			"Authorization: Bearer <token>")
	}
	if err != nil {
		return "", err
	}
	owner, ok := keys.VerifyOwner(bearer)
	if !ok {
		return "", NotOwner()
	}
	return owner, nil
}

// ClaimedOwner returns the owner whose token the request has, and no owner for a request without a token.
func ClaimedOwner(r *http.Request, keys OwnerVerifier) (job.ID, error) {
	if len(r.Header.Values("Authorization")) == 0 {
		return "", nil
	}
	return AuthorizeOwner(r, keys)
}

// NotOwner is the error for a token that does not give access to a template or its jobs.
func NotOwner() error {
	return job.Refuse(job.ErrForbidden, "", "this token does not give access; send the token of the template's owner")
}
