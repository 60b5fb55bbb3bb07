package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
)

// The bounds of a document.
const (
	maxBytes       = 1 << 20 // the limit of a ConfigMap too
	maxProfiles    = 100
	maxDescription = 500
	maxEnvBytes    = 64 << 10 // the rest of what Linux allows is the user's
	maxReadPaths   = 100
)

// Parse reads a document of profiles. An empty document has none. The error, a *job.Faults, names all
// faults; their fields are paths in the document, such as profiles.gpu.max.cpu. What could be read is
// returned with the error, so that the caller can look for more faults.
func Parse(document []byte) (*Set, error) {
	faults := &job.Faults{Kind: job.ErrInvalid}
	s := &Set{}
	data, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return s, &job.Faults{Kind: job.ErrInvalid, List: syntax(err)}
	}
	var top struct {
		Profiles map[string]json.RawMessage `json:"profiles"`
	}
	faults.List = Decode("", data, &top)
	for _, name := range slices.Sorted(maps.Keys(top.Profiles)) {
		p, found := read(name, top.Profiles[name])
		s.all = append(s.all, p)
		faults.List = append(faults.List, found...)
	}
	faults.List = append(faults.List, s.together()...)
	if len(faults.List) > 0 {
		return s, faults
	}
	return s, nil
}

// syntax returns the faults of a document that is not YAML, or names a key twice. The library puts
// each on a line of its own.
func syntax(err error) []job.Fault {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n")
	var list []job.Fault
	for line := range strings.Lines(text) {
		list = append(list, job.Fault{Message: strings.TrimSpace(line)})
	}
	return list
}

// together returns the faults that several profiles have together.
func (s *Set) together() []job.Fault {
	var list []job.Fault
	if len(s.all) > maxProfiles {
		list = append(list, job.Fault{Field: "profiles", Message: fmt.Sprintf("has %d profiles; at most %d are allowed",
			len(s.all), maxProfiles)})
	}
	first := s.Default()
	for _, p := range s.all {
		if p.Default && p != first {
			list = append(list, job.Fault{Field: "profiles." + p.Name + ".default", Message: fmt.Sprintf(
				"%s is the default already; only one profile can be", first.Name)})
		}
	}
	return list
}

// read reads one profile, section by section, so that a fault in one does not hide those of another.
func read(name string, data []byte) (*Profile, []job.Fault) {
	p := &Profile{Name: name}
	at := "profiles." + name
	var list []job.Fault
	wrong := func(field, message string) {
		if message != "" {
			list = append(list, job.Fault{Field: at + field, Message: message})
		}
	}
	wrong("", job.CheckProfileName(name))
	var sections struct {
		Description string          `json:"description"`
		Roles       []access.Role   `json:"roles"`
		Default     bool            `json:"default"`
		Defaults    json.RawMessage `json:"defaults"`
		Max         json.RawMessage `json:"max"`
		Kubernetes  json.RawMessage `json:"kubernetes"`
		Process     json.RawMessage `json:"process"`
	}
	list = append(list, Decode(at, data, &sections)...)
	p.Description, p.Roles, p.Default = sections.Description, sections.Roles, sections.Default
	for _, section := range []struct {
		name string
		data json.RawMessage
		into any
	}{
		{"defaults", sections.Defaults, &p.Defaults}, {"max", sections.Max, &p.Max},
		{"kubernetes", sections.Kubernetes, &p.Kubernetes}, {"process", sections.Process, &p.Process},
	} {
		if section.data != nil {
			list = append(list, Decode(at+"."+section.name, section.data, section.into)...)
		}
	}
	if len(p.Description) > maxDescription {
		wrong(".description", fmt.Sprintf("has %d bytes; at most %d are allowed", len(p.Description), maxDescription))
	}
	p.checkRoles(wrong)
	p.checkAmounts(wrong)
	p.Kubernetes.check(wrong)
	p.Process.check(wrong)
	return p, list
}

func (p *Profile) checkRoles(wrong func(field, message string)) {
	for i, role := range p.Roles {
		if role != access.Admin && role != access.User {
			wrong(fmt.Sprintf(".roles[%d]", i), fmt.Sprintf("%.40q is not a role that submits jobs: choose admin or user", role))
		}
	}
	// A job that an event starts has no caller with a role.
	if p.Default && !p.Allows(access.User) {
		wrong(".default", "jobs of all callers have the default profile, so it must allow the role user")
	}
}

// check finds what is wrong with amounts, by themselves. The server's own bounds are not known here.
func (p *Profile) checkAmounts(wrong func(field, message string)) {
	for name, a := range map[string]*Amounts{".defaults": &p.Defaults, ".max": &p.Max} {
		if a.CPU != "" {
			_, message := job.MilliCPU(string(a.CPU))
			wrong(name+".cpu", message)
		}
		if a.Memory != "" {
			_, message := job.Bytes(string(a.Memory))
			wrong(name+".memory", message)
		}
		if a.TimeoutSeconds < 0 || a.TimeoutSeconds > job.MaxSeconds {
			wrong(name+".timeoutSeconds", fmt.Sprintf("%d is out of range: from 0 to %d", a.TimeoutSeconds, job.MaxSeconds))
		}
	}
}

func (k *Kubernetes) check(wrong func(field, message string)) {
	for _, runtime := range slices.Sorted(maps.Keys(k.Images)) {
		field := ".kubernetes.images." + runtime
		if _, err := runtimes.Find(runtime); err != nil {
			wrong(field, "there is no such runtime")
		}
		if k.Images[runtime] == "" {
			wrong(field, "is empty; leave it out for the runtime's own image")
		}
		wrong(field, job.CheckImage(k.Images[runtime]))
	}
	wrong(".kubernetes.queue", job.CheckQueue(k.Queue))
}

func (p *Process) check(wrong func(field, message string)) {
	total := 0
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		wrong(fmt.Sprintf(".process.env[%q]", name), job.CheckVariable(name, p.Env[name]))
		total += len(name) + len(p.Env[name])
	}
	if total > maxEnvBytes {
		wrong(".process.env", fmt.Sprintf("has %d bytes; at most %d are allowed", total, maxEnvBytes))
	}
	if len(p.ReadPaths) > maxReadPaths {
		wrong(".process.readPaths", fmt.Sprintf("has %d paths; at most %d are allowed", len(p.ReadPaths), maxReadPaths))
	}
	for i, one := range p.ReadPaths {
		if !path.IsAbs(one) || path.Clean(one) != one || strings.Contains(one, "\x00") {
			wrong(fmt.Sprintf(".process.readPaths[%d]", i), fmt.Sprintf("%.100q is not an absolute path without . and ..", one))
		}
	}
	for _, limit := range []struct {
		name      string
		value     *int64
		low, high int64
	}{
		{"maxProcesses", p.MaxProcesses, 1, 1<<16 - 1}, {"maxOpenFiles", p.MaxOpenFiles, minOpenFiles, 1<<32 - 1},
		{"maxWorkspaceFiles", p.MaxWorkspaceFiles, 0, 1<<32 - 1},
	} {
		if v := limit.value; v != nil && (*v < limit.low || *v > limit.high) {
			wrong(".process."+limit.name, fmt.Sprintf("%d is out of range: from %d to %d", *v, limit.low, limit.high))
		}
	}
	if p.MaxWorkspaceBytes != "" {
		n, message := job.Size(string(p.MaxWorkspaceBytes))
		if message == "" && n < 0 {
			message = fmt.Sprintf("%q is negative", p.MaxWorkspaceBytes)
		}
		wrong(".process.maxWorkspaceBytes", message)
	}
}

// minOpenFiles is with how many open files every runtime starts.
const minOpenFiles = 64

// Decode decodes JSON strictly, and returns the faults: fields that the value does not have, and
// values of another type. Their fields begin with the path.
func Decode(at string, data []byte, into any) []job.Fault {
	unknown, err := strict.UnmarshalStrict(data, into)
	var list []job.Fault
	for _, one := range unknown {
		field := at
		var e strict.FieldError
		if errors.As(one, &e) {
			field = Join(at, e.FieldPath())
		}
		list = append(list, job.Fault{Field: field, Message: Unknown})
	}
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		list = append(list, job.Fault{Field: Join(at, kind.Field), Message: fmt.Sprintf("is %s and must be %s",
			an(kind.Value), describe(kind.Type))})
	case err != nil:
		list = append(list, job.Fault{Field: at, Message: strings.TrimPrefix(err.Error(), "json: ")})
	}
	return list
}

// Unknown is the message for a field that does not exist.
const Unknown = "there is no such field"

// Join joins two parts of a path in a document.
func Join(at, field string) string {
	if at == "" || field == "" {
		return at + field
	}
	return at + "." + field
}

// an puts the article before the word that encoding/json has for a type of values.
func an(word string) string {
	word, _, _ = strings.Cut(word, " ") // number 1.5
	if word == "bool" {
		return "true or false"
	}
	if word == "array" {
		return "a list"
	}
	if word == "object" {
		return "an object"
	}
	return "a " + word
}

func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string; put it in quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "an object"
	}
	return "a whole number"
}
