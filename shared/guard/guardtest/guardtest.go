// Package guardtest guards the functions of tests.
package guardtest

import (
	"net/http"
	"strings"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/token"
)

// Caller is the header that says who calls, as <owner> or <owner>/<role>, where the role is user
// if it is left out.
const Caller = "Test-Caller"

// Nobody is the value of Caller for a request without a caller, such as the Broker's.
const Nobody = "nobody"

// New returns a guard for functions that a test calls directly. It believes the header Caller.
// Without it and without any other credentials the caller is an admin.
func New(tokens token.Keys, owners guard.Owners) *guard.Guard {
	return guard.New(guard.Deps{Identify: identify, Tokens: tokens, Owners: owners, Now: time.Now, Broker: true})
}

func identify(r *http.Request) (*http.Request, error) {
	text := r.Header.Get(Caller)
	if text == Nobody || text == "" && len(r.Header.Values("Authorization")) > 0 { // the token of a job
		return r, nil
	}
	c := access.Caller{Owner: access.Local, Role: access.Admin, Via: "test"}
	if text != "" {
		owner, role, found := strings.Cut(text, "/")
		c.Owner, c.Role = owner, access.Role(role)
		if !found {
			c.Role = access.User
		}
	}
	return r.WithContext(access.With(r.Context(), c)), nil
}
