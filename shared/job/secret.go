package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Secret is a variable of a job whose value is secret. The records of the job have its name only.
type Secret struct {
	Name string `json:"name"` // of the variable
	// From is the name of the operator's secret that the variable gets its value from. It is empty for
	// a value that the user sent.
	From string `json:"from,omitempty"`
	// Role is that of the caller who named the operator's secret. It decides whether the job may have
	// the value when it starts.
	Role string `json:"role,omitempty"`
}

// MaxSecrets bounds how many secrets a job has.
const MaxSecrets = 64

// SecretPrefix begins the names of the fields that secrets are sent in.
const SecretPrefix = "secret."

// SecretField is the name by which messages name a secret. It is short and printable whatever the
// name of the variable is.
func SecretField(name string) string {
	if CheckEnvName(name) == "" && len(name) <= maxSecretField {
		return SecretPrefix + name
	}
	quoted := strconv.Quote(name[:min(len(name), maxSecretField)])
	return SecretPrefix + quoted[1:len(quoted)-1]
}

const maxSecretField = 80

// CheckSecrets returns every fault of secrets that a job with this specification has. The values of
// the operator's secrets are empty here. No message has a part of a value.
func (s *Spec) CheckSecrets(values map[string]string) []Fault {
	faults := &Faults{Kind: ErrInvalid}
	if len(values) > MaxSecrets {
		faults.add("secret", fmt.Sprintf("the job has %d secrets; at most %d are allowed", len(values), MaxSecrets))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		field := SecretField(name)
		if message := CheckEnvName(name); message != "" {
			faults.add(field, message)
			continue
		}
		if _, twice := s.Env[name]; twice {
			faults.add(field, "env has a variable of the same name; leave one of the two out")
		}
		if message := checkText(name + "=" + values[name]); message != "" {
			faults.add(field, "its value "+message)
		}
	}
	if len(values) > 0 {
		checkExecSize(faults, s, values)
	}
	return faults.List
}
