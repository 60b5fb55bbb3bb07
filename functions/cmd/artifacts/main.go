// Command artifacts serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(open, "Hands uploaded files to agents, and takes results.", &artifacts.Settings{}))
}

func open(env *platform.Env) (*artifacts.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, err
	}
	return artifacts.New(artifacts.Deps{Env: env, Ledger: events.Ledger})
}
