package form

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"go-job-orchestrator/shared/job"
)

// Overrides are the values of a job that replace those of its template.
type Overrides struct {
	// Args replace the template's, if they are not nil. Add is appended to them.
	Args []string `json:"args"`
	Add  []string `json:"arg,omitempty"`
	// Env is added to the template's. A variable that the template sets gets the new value.
	Env map[string]string `json:"env,omitempty"`
	// Profile replaces the template's, if it is not empty.
	Profile string `json:"profile,omitempty"`
}

// Apply returns the specification with the overrides. It does not validate the result.
func (o *Overrides) Apply(spec job.Spec) job.Spec {
	if o.Args != nil {
		spec.Args = o.Args
	}
	spec.Args = append(append([]string{}, spec.Args...), o.Add...)
	if o.Profile != "" {
		spec.Profile = o.Profile
	}
	if len(o.Env) > 0 {
		env := maps.Clone(spec.Env)
		if env == nil {
			env = map[string]string{}
		}
		maps.Copy(env, o.Env)
		spec.Env = env
	}
	return spec
}

// ReadOverrides reads a form that may have the fields args, arg, env and profile, or no body at all.
func (f *Reader) ReadOverrides(r *http.Request) (*Overrides, error) {
	if r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		return &Overrides{}, nil
	}
	boundary, err := boundaryOf(r.Header)
	if err != nil {
		return nil, err
	}
	limits := f.limits
	limits.TotalBytes = min(limits.TotalBytes, 2*fieldsFactor*limits.FieldBytes)
	source := &capped{r: r.Body, left: limits.TotalBytes,
		err: job.Refuse(job.ErrTooLarge, "body", "has more than these fields can")}
	body, done := f.buffers.before(source)
	defer done()
	p := &parser{limits: limits, body: source, fields: map[string][]string{}, names: map[string]bool{},
		only: []string{"args", "arg", "env", "profile"}}
	err = p.parts(r.Context(), newParts(body, boundary))
	if err != nil && (len(p.faults) == 0 || !errors.Is(err, errEnough)) {
		return nil, err
	}
	var spec job.Spec
	faults := p.faults
	for _, name := range slices.Sorted(maps.Keys(p.fields)) {
		if set, ok := single()[name]; ok {
			if message := set(&spec, p.fields[name][0]); message != "" {
				faults = append(faults, job.Fault{Field: name, Message: message})
			}
		}
	}
	if len(faults) > 0 {
		return nil, &job.Faults{Kind: job.ErrInvalid, List: faults}
	}
	return &Overrides{Args: spec.Args, Add: p.fields["arg"], Env: spec.Env, Profile: spec.Profile}, nil
}
