// Package secret is what programs get and nobody else may see: the secrets that users send with
// their jobs, sealed under the token keys, and those that the operator offers by name.
package secret

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// Value is the value of one secret: a text of the user's, or a reference to a secret of the
// operator's. It never prints its text.
type Value struct {
	// From is the name of the operator's secret. It is empty for a text of the user's.
	From string
	// Role is that of the caller who named the operator's secret.
	Role access.Role
	text *string // fmt prints the address of a pointer in a struct, and not what it points to
}

// Text returns a Value with a text of the user's.
func Text(text string) Value { return Value{text: &text} }

// Reference returns a Value with the name of an operator's secret.
func Reference(name string) Value { return Value{From: name} }

func (v Value) reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// String keeps the text out of logs and messages.
func (v Value) String() string {
	if v.From != "" {
		return "@" + v.From
	}
	return "***"
}

// GoString is String for %#v.
func (v Value) GoString() string { return v.String() }

// MarshalText is String for encoders, so that no record gets the text by accident.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// nameSyntax is the name of a Secret of Kubernetes, and perhaps a slash and one of its keys.
var nameSyntax = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[-_a-zA-Z0-9][-._a-zA-Z0-9]{0,252})?$`)
})

// IsName reports whether a text can be the name of an operator's secret.
func IsName(name string) bool { return nameSyntax().MatchString(name) }

// Parse reads a Value as it is written in a form: @name is the operator's secret of that name, and
// @@ at the beginning stands for one @ of a text. The message says what is wrong, without the text.
func Parse(text string) (v Value, message string) {
	rest, marked := strings.CutPrefix(text, "@")
	switch {
	case !marked:
		return Text(text), ""
	case strings.HasPrefix(rest, "@"):
		return Text(rest), ""
	case !IsName(rest):
		return Value{}, "begins with @, but what follows is not the name of a secret of the operator, such as @db or " +
			"@db/password; for a value that begins with @ write @@, or send it as a file"
	}
	return Reference(rest), ""
}

// Set is the secrets of one job, by the names of their variables.
type Set map[string]Value

// Names lists the variables in order.
func (s Set) Names() []string { return slices.Sorted(maps.Keys(s)) }

// As returns the secrets with the role of the caller who sends them.
func (s Set) As(role access.Role) Set {
	all := maps.Clone(s)
	for name, v := range all {
		if v.From != "" {
			v.Role = role
			all[name] = v
		}
	}
	return all
}

// With returns the secrets with others, which replace those of the same name.
func (s Set) With(others Set) Set {
	if len(s) == 0 {
		return others
	}
	all := maps.Clone(s)
	maps.Copy(all, others)
	return all
}

// Records returns what the records of a job say of its secrets.
func (s Set) Records() []job.Secret {
	var list []job.Secret
	for _, name := range s.Names() {
		list = append(list, job.Secret{Name: name, From: s[name].From, Role: string(s[name].Role)})
	}
	return list
}

// Check returns every fault of the secrets of a job with this specification.
func (s Set) Check(spec *job.Spec) []job.Fault {
	values := make(map[string]string, len(s))
	for name, v := range s {
		values[name] = v.reveal()
	}
	return spec.CheckSecrets(values)
}

// own returns the texts of the user's.
func (s Set) own() map[string]string {
	own := map[string]string{}
	for name, v := range s {
		if v.From == "" {
			own[name] = v.reveal()
		}
	}
	return own
}

// parts lists all that the secrets are, for a code of them.
func (s Set) parts() []string {
	parts := make([]string, 0, 3*len(s))
	for _, name := range s.Names() {
		parts = append(parts, name, s[name].From, s[name].reveal())
	}
	return parts
}

// OwnFaults returns a fault with this message for each text of the user's. Templates and events
// have references only, because they would store or send a text in the clear.
func (s Set) OwnFaults(message string) []job.Fault {
	var faults []job.Fault
	for _, name := range s.Names() {
		if s[name].From == "" {
			faults = append(faults, job.Fault{Field: job.SecretField(name), Message: message})
		}
	}
	return faults
}

// References returns the Set of what a template's records say. Records of own texts are left out.
func References(records []job.Secret) Set {
	s := Set{}
	for _, one := range records {
		if one.From != "" {
			s[one.Name] = Value{From: one.From, Role: access.Role(one.Role)}
		}
	}
	return s
}

// Missing returns a fault for each value that a user sent with a job, and did not send again for its
// rerun: such values are removed when a job ends.
func Missing(before []job.Secret, sent Set) []job.Fault {
	var faults []job.Fault
	for _, one := range before {
		if _, again := sent[one.Name]; !again && one.From == "" {
			faults = append(faults, job.Fault{Field: job.SecretField(one.Name), Message: fmt.Sprintf(
				"has to be sent again: the value was removed when the job ended; send %s", job.SecretField(one.Name)+"=…")})
		}
	}
	return faults
}
