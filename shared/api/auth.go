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

// Verifier tells whether a token opens a job; token.Keys is one.
type Verifier interface {
	Verify(token string, id job.ID, scopes ...token.Scope) bool
}

// Authorize returns the job that the path parameter "id" names if the request carries a token that
// opens it in one of the scopes. Without a token the error is of kind job.ErrUnauthorized;
// otherwise it is of kind job.ErrForbidden, the same for a job that does not exist as for somebody
// else's. Nothing is read to find out.
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

// Bearer reads the credentials of RFC 6750, section 2.1. Several Authorization headers are refused,
// since proxies and servers disagree on which one counts.
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

// OwnerVerifier tells whose token an owner's is; token.Keys is one.
type OwnerVerifier interface {
	VerifyOwner(token string) (job.ID, bool)
}

// AuthorizeOwner returns whose token the request carries. Without a token the error is of kind
// job.ErrUnauthorized; with anything but an owner's it is of kind job.ErrForbidden. Nothing is read
// to find out.
func AuthorizeOwner(r *http.Request, keys OwnerVerifier) (job.ID, error) {
	bearer, err := Bearer(r)
	if errors.Is(err, job.ErrUnauthorized) {
		return "", job.Refuse(job.ErrUnauthorized, "", "send the token that the answer to PUT of a template has: "+
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

// ClaimedOwner returns whose token the request carries, and no owner for a request without any token.
func ClaimedOwner(r *http.Request, keys OwnerVerifier) (job.ID, error) {
	if len(r.Header.Values("Authorization")) == 0 {
		return "", nil
	}
	return AuthorizeOwner(r, keys)
}

// NotOwner is the error for a token that does not open what is asked for.
func NotOwner() error {
	return job.Refuse(job.ErrForbidden, "", "this token does not open this; send the token of the template's owner")
}
