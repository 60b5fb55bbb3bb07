// Package access says who calls and what they may do: roles, the keys that callers have, and the
// assertion by which the gateway passes on who it has authenticated.
package access

import (
	"context"
	"fmt"
	"slices"

	"go-job-orchestrator/shared/job"
)

// Role is what a caller may do. Each role may do what the next one may.
type Role string

// The roles. Admin sees and changes everything, and manages keys. User submits, and sees and
// changes what they own. Read looks at what they own, and changes nothing.
const (
	Admin Role = "admin"
	User  Role = "user"
	Read  Role = "read"
)

// Roles lists the roles, the one that may do least first.
func Roles() []Role { return []Role{Read, User, Admin} }

// Allows reports whether a caller of role r may do what needs the role needed.
func (r Role) Allows(needed Role) bool {
	have, need := slices.Index(Roles(), r), slices.Index(Roles(), needed)
	return need >= 0 && have >= need
}

// ParseRole returns the role of that name.
func ParseRole(name string) (Role, error) {
	if r := Role(name); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", fmt.Errorf("%.40q is not a role: choose admin, user or read", name)
}

// Local is the owner of everything where nobody has to say who they are.
const Local = job.LocalOwner

// Caller is who sends a request.
type Caller struct {
	// Owner is the name under which the caller's jobs and templates are recorded.
	Owner string
	Role  Role
	// Via says how the caller was authenticated, for the log: the ID of a key, "oidc", or Open.
	Via string
}

// Open is Caller.Via where nobody has to say who they are.
const Open = "open"

// Sees reports whether the caller may look at what an owner has.
func (c Caller) Sees(owner string) bool {
	return c.Role == Admin || c.Owner == owner
}

type callerKey struct{}

// With returns a context that carries the caller.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the caller that the context carries, and false if it carries none.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}
