// Package guard decides whether the sender of a request may make the call, before the function that
// answers the call gets the request. What a call needs is said in the table of routes.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// Identify returns a request with its caller in its context, if it has one. An error answers the
// request.
type Identify func(r *http.Request) (*http.Request, error)

// Owners tells whose a job is; ledger.Ledger is one. The error for a job that does not exist is of
// kind job.ErrNotFound.
type Owners interface {
	OwnerOf(ctx context.Context, id job.ID) (string, error)
}

// Deps is what a Guard works with.
type Deps struct {
	Identify Identify
	Tokens   token.Keys
	Owners   Owners // nil: whose a job is, is decided elsewhere
	Now      func() time.Time
	// Broker says that a request without a caller comes from the Broker, since the network lets in
	// nothing else but the gateway's, which have one.
	Broker bool
	// Outside reports whether a request comes from where only public calls are answered; nil: none
	// does.
	Outside func(*http.Request) bool
}

// Guard decides about requests. It is safe for concurrent use.
type Guard struct{ Deps }

// New returns a Guard.
func New(d Deps) *Guard { return &Guard{d} }

// Admit returns the request, with its caller in its context, if its sender may make the call. The
// errors are of kind job.ErrUnauthorized without credentials or with expired ones, job.ErrForbidden
// with those that do not do, and job.ErrNotFound for a caller who asks for somebody else's job: that
// looks like one that does not exist.
func (g *Guard) Admit(r *http.Request, p httprouter.Params, route routes.Route) (*http.Request, error) {
	if route.Reach != routes.Public && g.Outside != nil && g.Outside(r) {
		return nil, api.NoSuchPath() // as the gateway of separate functions answers
	}
	if route.Role == routes.Anyone {
		return g.recognize(r, route), nil
	}
	r, err := g.Identify(r)
	if err != nil {
		return nil, err
	}
	c, called := access.From(r.Context())
	if called && c.Via == access.Open && route.TokenWhenOpen || route.Role == routes.NoCaller {
		called = false
	}
	switch {
	case called:
		return r, g.checkCaller(r.Context(), c, p, route)
	case route.Broker && g.Broker && len(r.Header.Values("Authorization")) == 0:
		return r, nil
	case route.Tokens == 0:
		_, err := access.Require(r.Context(), route.Role)
		return r, err
	}
	return g.checkToken(r, p, route)
}

// recognize returns the request with its caller, if the answer depends on the caller and there is
// one. Credentials that are not valid are like none, because the call needs none.
func (g *Guard) recognize(r *http.Request, route routes.Route) *http.Request {
	if !route.KnowsCaller {
		return r
	}
	known, err := g.Identify(r)
	if err != nil {
		return r
	}
	return known
}

// checkCaller lets callers at their own jobs, and admins at all.
func (g *Guard) checkCaller(ctx context.Context, c access.Caller, p httprouter.Params, route routes.Route) error {
	if _, err := access.Require(ctx, route.Role); err != nil {
		return err
	}
	// The function itself finds out whether an admin's job exists.
	if !route.OfJob() || g.Owners == nil || c.Role == access.Admin {
		return nil
	}
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return err
	}
	owner, err := g.Owners.OwnerOf(ctx, id)
	if err != nil {
		return err
	}
	if !c.Sees(owner) {
		return access.ErrForeign
	}
	return nil
}

// checkToken lets in senders with a token of the job that opens the call. It returns the request with
// which token that is in its context.
func (g *Guard) checkToken(r *http.Request, p httprouter.Params, route routes.Route) (*http.Request, error) {
	bearer, err := api.Bearer(r)
	if route.Tokens == routes.Index && (err == nil || errors.Is(err, job.ErrUnauthorized)) {
		bearer, err = p.ByName("token"), nil
	}
	if errors.Is(err, job.ErrUnauthorized) && route.Role != routes.NoCaller {
		return r, job.Refuse(job.ErrUnauthorized, "", "send your key or the job's token: Authorization: Bearer "+
			"<key or token>")
	}
	if err != nil {
		return r, err
	}
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return r, errForeign
	}
	for _, one := range scopes() {
		if route.Tokens.Opens(one.token) && g.Tokens.Verify(bearer, id, one.scope) {
			return r.WithContext(access.WithToken(r.Context(), one.name)), nil
		}
	}
	if until, ok := g.Tokens.VerifyShare(bearer, id); ok && route.Tokens.Opens(routes.Shared) {
		if g.Now().Before(until) {
			return r.WithContext(access.WithToken(r.Context(), access.SharedToken)), nil
		}
		return r, job.Refuse(job.ErrUnauthorized, "", "this token has expired; ask the job's owner for another")
	}
	return r, errForeign
}

// errForeign is the same for a job that does not exist as for somebody else's. Nothing is read to
// find out.
var errForeign = fmt.Errorf("token of another job: %w", job.ErrForbidden)

// scope is one of the tokens of a job that do not expire.
type scope struct {
	token routes.Tokens
	scope token.Scope
	name  string
}

func scopes() []scope {
	return []scope{
		{routes.User, token.User, access.UserToken}, {routes.Agent, token.Agent, access.AgentToken},
		{routes.Index, token.Index, access.AgentToken},
	}
}
