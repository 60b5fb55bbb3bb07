// Package profile knows the operator's profiles. Jobs name a profile to get what others do not: other
// defaults and maximums, and on Kubernetes a different pod, such as one with a GPU.
package profile

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// Profile is what the operator says about the jobs that name it.
type Profile struct {
	Name        string
	Description string
	// Roles may use it; empty: admins and users.
	Roles []access.Role
	// Default says that jobs that name no profile have this one.
	Default bool
	// Defaults take the place of the server's own defaults, and Max that of its maximums.
	Defaults   Amounts
	Max        Amounts
	Kubernetes Kubernetes
	Process    Process
}

// Amounts are what a job can ask for. Those that are empty or 0 are not set.
type Amounts struct {
	CPU            Quantity `json:"cpu,omitempty"`
	Memory         Quantity `json:"memory,omitempty"`
	TimeoutSeconds int64    `json:"timeoutSeconds,omitempty"`
}

// Quantity is a Kubernetes quantity. In the document it can be a number as well.
type Quantity string

// UnmarshalJSON implements json.Unmarshaler.
func (q *Quantity) UnmarshalJSON(data []byte) error {
	var n json.Number
	if err := json.Unmarshal(data, &n); err == nil && data[0] != '"' {
		*q = Quantity(n)
		return nil
	}
	var s string
	if json.Unmarshal(data, &s) != nil {
		return errors.New("a quantity is a number or a string, such as 500m or 16Gi")
	}
	*q = Quantity(s)
	return nil
}

// Kubernetes is how the pods of a profile's jobs differ from those of others.
type Kubernetes struct {
	// Images are those of jobs that name none, by runtime.
	Images map[string]string `json:"images"`
	// Queue is the Kueue LocalQueue of jobs that name none.
	Queue string `json:"queue"`
	// Pod is a strategic-merge patch of the pod template, in JSON. Package kubernetes checks it.
	Pod json.RawMessage `json:"pod"`
}

// Process is how the processes of a profile's jobs differ from those of others on one machine. Limits
// that are nil or empty are those of the settings.
type Process struct {
	Env       map[string]string `json:"env"`
	ReadPaths []string          `json:"readPaths"`

	MaxProcesses      *int64   `json:"maxProcesses"`
	MaxOpenFiles      *int64   `json:"maxOpenFiles"`
	MaxWorkspaceBytes Quantity `json:"maxWorkspaceBytes"`
	MaxWorkspaceFiles *int64   `json:"maxWorkspaceFiles"`
}

// Allows reports whether a caller of the role may use the profile.
func (p *Profile) Allows(role access.Role) bool {
	if len(p.Roles) == 0 {
		return role.Allows(access.User)
	}
	return slices.ContainsFunc(p.Roles, role.Allows)
}

// Set is the profiles of a server. The zero value has none.
type Set struct {
	all []*Profile // in the order of their names
}

// All returns the profiles in the order of their names.
func (s *Set) All() []*Profile { return s.all }

// Find returns the profile of that name, or nil.
func (s *Set) Find(name string) *Profile {
	return s.first(func(p *Profile) bool { return p.Name == name })
}

// Default returns the profile of jobs that name none, or nil.
func (s *Set) Default() *Profile {
	return s.first(func(p *Profile) bool { return p.Default })
}

func (s *Set) first(is func(*Profile) bool) *Profile {
	if i := slices.IndexFunc(s.all, is); i >= 0 {
		return s.all[i]
	}
	return nil
}

// Of returns the profile of a job, or nil if it has none.
func (s *Set) Of(spec *job.Spec) *Profile {
	if spec.Profile == "" {
		return s.Default()
	}
	return s.Find(spec.Profile)
}

// Check says why a caller of the role cannot use the profile of that name, or returns "". A profile
// that the caller may not use looks like one that does not exist.
func (s *Set) Check(name string, role access.Role) string {
	var names []string
	for _, p := range s.all {
		if p.Allows(role) {
			names = append(names, p.Name)
		}
	}
	switch {
	case slices.Contains(names, name):
		return ""
	case len(names) == 0:
		return "there is no profile that you can use here; leave the field out"
	}
	return "is not a profile that you can use here; there is " + strings.Join(names, ", ") + job.Meant(name, names, nil)
}

// Gone says why a job cannot start whose profile does not exist any more.
func Gone(name string) string {
	return "the profile " + name + " does not exist any more; submit the job again with another, or without"
}

// Listed is a profile as users see it.
type Listed struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Default     bool     `json:"default,omitempty"`
	Defaults    *Amounts `json:"defaults,omitempty"`
	Max         *Amounts `json:"max,omitempty"`
}

// List lists the profiles that a caller of the role may use.
func (s *Set) List(role access.Role) []Listed {
	var list []Listed
	for _, p := range s.all {
		if p.Allows(role) {
			list = append(list, Listed{
				Name: p.Name, Description: p.Description, Default: p.Default, Defaults: p.Defaults.shown(), Max: p.Max.shown(),
			})
		}
	}
	return list
}

func (a Amounts) shown() *Amounts {
	if a == (Amounts{}) {
		return nil
	}
	return &a
}
