// Package intake wires the functions by which jobs come in: submit, templates and events. They are
// one service, so that the next form or event after another finds it started.
package intake

import (
	"errors"

	"go-job-orchestrator/functions/events"
	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/functions/templates"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/profile"
)

// Functions are the three of them.
type Functions struct {
	Submit    *submit.Function
	Templates *templates.Function
	Events    *events.Function
}

// Settings returns a pointer to the settings of each part.
func Settings() []any { return []any{&admission.Settings{}, &events.Settings{}, &profile.Settings{}} }

// Open opens the functions over one admission controller. The error names the faults of all
// settings.
func Open(d admission.Deps) (*Functions, error) {
	c, err := admission.New(d)
	f := &Functions{}
	var errs [3]error
	f.Submit, errs[0] = submit.New(submit.Deps{Env: d.Env, Admission: c})
	f.Templates, errs[1] = templates.New(templates.Deps{Env: d.Env, Admission: c})
	f.Events, errs[2] = events.New(events.Deps{Env: d.Env, Admission: c})
	return f, errors.Join(append([]error{err}, errs[:]...)...)
}

// Mount implements serve.Function.
func (f *Functions) Mount(r *api.Router) {
	f.Submit.Mount(r)
	f.Templates.Mount(r)
	f.Events.Mount(r)
}
