// Command submit serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(open, "Accepts jobs, templates and events that start jobs.", &submit.Settings{}))
}

func open(env *platform.Env) (*submit.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, err
	}
	return submit.New(submit.Deps{Env: env, Events: events, Admission: backend.AnyRuntime{}})
}
