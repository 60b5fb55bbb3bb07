// Command submit serves the functions by which jobs come in: submit, templates and events.
package main

import (
	"errors"
	"os"

	"go-job-orchestrator/functions/intake"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/guard/behind"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/wakeup"
)

func main() {
	os.Exit(serve.Main(behind.Gateway(open), "Accepts jobs, templates and events that start jobs.",
		append(intake.Settings(), &behind.Settings{}, &wakeup.Settings{})...))
}

func open(env *platform.Env) (*intake.Functions, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, errors.Join(err, env.Check(intake.Settings()...))
	}
	next, err := wakeup.Open(env.Env)
	if err != nil {
		return nil, errors.Join(err, env.Check(intake.Settings()...))
	}
	next.Wake() // this process starts because of a request, mostly one for a job
	return intake.Open(admission.Deps{Env: env, Events: events, Backend: backend.AnyRuntime{}, Wake: next.Wake})
}
