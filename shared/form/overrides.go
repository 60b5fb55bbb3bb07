package form

import (
	"maps"
	"net/http"
	"slices"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
)

// Overrides are the values of a job that replace those of its template.
type Overrides struct {
	// Args replace the template's, if they are not nil. Add is appended to them.
	Args []string `json:"args"`
	Add  []string `json:"arg,omitempty"`
	// Env is added to the template's. A variable that the template sets gets the new value.
	Env map[string]string `json:"env,omitempty"`
	// Name replaces the template's, if it is not nil, and so does Stdin.
	Name  *string   `json:"name,omitempty"`
	Stdin *job.File `json:"stdin,omitempty"`
	// Secrets are added to the template's. A secret that the template has gets the new value. They are
	// not in the JSON that fingerprints are made of.
	Secrets secret.Set `json:"-"`
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
	if o.Name != nil {
		spec.Name = *o.Name
	}
	return spec
}

// overrideNames are the fields that a form may have that starts a job from a template.
func overrideNames() []string {
	return []string{"args", "arg", "env", "name", "profile", stdinField, secretField}
}

// ReadOverrides reads a form that changes what a template says, or no body at all. It calls save for
// stdin when it arrives.
func (f *Reader) ReadOverrides(r *http.Request, save Saver) (*Overrides, error) {
	p, err := f.readOnly(r, save, overrideNames())
	if err != nil {
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
	o := &Overrides{
		Args: spec.Args, Add: p.fields["arg"], Env: spec.Env, Stdin: p.stdin, Secrets: p.secrets, Profile: spec.Profile,
	}
	if _, sent := p.fields["name"]; sent {
		o.Name = &spec.Name
	}
	return o, nil
}

// ReadChanges reads a form that changes some fields of a job whose files stay, or no body at all. A
// field that is sent replaces that of base; args and arg together are one field. It calls save for
// stdin when it arrives. As in Read, there can be a job together with an error.
func (f *Reader) ReadChanges(r *http.Request, base job.Spec, save Saver) (*Job, error) {
	names := slices.DeleteFunc(fieldNames(), func(name string) bool { return name == "files" || name == "archive" })
	p, err := f.readOnly(r, save, names)
	if err != nil {
		return nil, err
	}
	if len(p.fields["arg"]) > 0 {
		base.Args = nil // decode sets those of args
	}
	spec, faults := decode(p.fields, base)
	faults = append(faults, p.faults...)
	changed := &Job{Spec: *spec, Stdin: p.stdin, Secrets: p.secrets}
	if len(faults) > 0 {
		return changed, &job.Faults{Kind: job.ErrInvalid, List: faults[:min(len(faults), maxFaults)]}
	}
	return changed, nil
}

// readOnly reads a form that may have the named fields and no others, or no body.
func (f *Reader) readOnly(r *http.Request, save Saver, names []string) (*parser, error) {
	p := &parser{limits: f.limits, save: save, fields: map[string][]string{}, names: map[string]bool{}, only: names}
	if r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		return p, nil
	}
	boundary, err := boundaryOf(r.Header)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > f.limits.TotalBytes {
		return nil, f.tooLarge()
	}
	p.body = &capped{r: r.Body, left: f.limits.TotalBytes, err: f.tooLarge()}
	body, done := f.buffers.before(p.body)
	defer done()
	return p, p.read(r.Context(), newParts(body, boundary))
}
