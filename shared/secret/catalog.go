package secret

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// Entry is a secret of the operator's, without its value.
type Entry struct {
	Name string `json:"name"`
	// Keyed says that it has several values, which are named NAME/KEY.
	Keyed bool `json:"keyed,omitempty"`
	// Roles are those that may use it; each role also allows those above it.
	Roles []access.Role `json:"roles"`
}

// Catalog lists the secrets of the operator.
type Catalog interface {
	// Entries returns all of them in the order of their names.
	Entries(ctx context.Context) ([]Entry, error)
}

// DefaultRoles are the roles of a secret for which the operator names none.
func DefaultRoles() []access.Role { return []access.Role{access.User} }

// ParseRoles reads roles as the operator writes them. Callers of role read start no jobs, so it
// cannot be named.
func ParseRoles(names []string) ([]access.Role, error) {
	if len(names) == 0 {
		return DefaultRoles(), nil
	}
	roles := make([]access.Role, len(names))
	for i, name := range names {
		role, err := access.ParseRole(strings.TrimSpace(name))
		if err == nil && role == access.Read {
			err = errors.New("the role read starts no jobs: choose admin or user")
		}
		if err != nil {
			return nil, err
		}
		roles[i] = role
	}
	return roles, nil
}

// Allows reports whether a caller of this role may use the secret.
func (e Entry) Allows(role access.Role) bool { return slices.ContainsFunc(e.Roles, role.Allows) }

// Allowed lists the names of the secrets that a caller of this role may use.
func Allowed(entries []Entry, role access.Role) []string {
	names := []string{}
	for _, e := range entries {
		if e.Allows(role) {
			names = append(names, e.Name)
		}
	}
	return names
}

// Base is the name of the Secret that a name means, and Key the name of the value in it, or empty.
func Base(name string) string { base, _, _ := strings.Cut(name, "/"); return base }

// Key returns what follows the slash in a name, or "".
func Key(name string) string { _, key, _ := strings.Cut(name, "/"); return key }

// Find returns the entry that a name means, if a caller of this role may use it.
func Find(entries []Entry, name string, role access.Role) (Entry, bool) {
	i := slices.IndexFunc(entries, func(e Entry) bool {
		return (e.Name == name || e.Keyed && e.Name == Base(name)) && e.Allows(role)
	})
	if i < 0 {
		return Entry{}, false
	}
	return entries[i], true
}

// CheckReferences returns a fault for each of the operator's secrets that does not exist, or that
// the caller who named it may not use: the two look the same.
func (s Set) CheckReferences(entries []Entry) []job.Fault {
	var faults []job.Fault
	for _, name := range s.Names() {
		v := s[name]
		if v.From == "" {
			continue
		}
		if _, found := Find(entries, v.From, v.Role); found {
			continue
		}
		// The name is not repeated: it can be a password that begins with @.
		message := "the operator has no secret of that name for you"
		if known := Allowed(entries, v.Role); len(known) > 0 {
			const most = 50
			message += "; there are: " + strings.Join(known[:min(len(known), most)], ", ") + job.Meant(v.From, known, nil)
		}
		message += "; a value that begins with @ is written with @@"
		faults = append(faults, job.Fault{Field: job.SecretField(name), Message: message})
	}
	return faults
}

// HasReferences reports whether there are secrets of the operator among them.
func (s Set) HasReferences() bool {
	for _, v := range s {
		if v.From != "" {
			return true
		}
	}
	return false
}

// encodeEntries and decodeEntries are the form in which entries are published.
func encodeEntries(entries []Entry) ([]byte, error) {
	if entries == nil {
		entries = []Entry{}
	}
	return json.Marshal(entries)
}
