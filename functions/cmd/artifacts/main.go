// Command artifacts serves the functions that the agent in a job's pod calls: artifacts and
// agentapi. They are one service, so that a pod waits for one cold start only.
package main

import (
	"errors"
	"os"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/guard/behind"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(behind.Gateway(open), "Hands uploaded files to agents, and takes results and records of runs.",
		&artifacts.Settings{}, &agentapi.PackageSettings{}))
}

// both are the two functions.
type both struct {
	artifacts *artifacts.Function
	agent     *agentapi.Function
}

// Mount implements serve.Function.
func (b both) Mount(r *api.Router) {
	b.artifacts.Mount(r)
	b.agent.Mount(r)
}

func open(env *platform.Env) (b both, err error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return b, errors.Join(err, env.Check(&artifacts.Settings{}, &agentapi.PackageSettings{}))
	}
	var agentErr error
	b.artifacts, err = artifacts.New(artifacts.Deps{Env: env, Ledger: events.Ledger})
	b.agent, agentErr = agentapi.New(agentapi.Deps{Env: env, Ledger: events.Ledger})
	return b, errors.Join(err, agentErr)
}
