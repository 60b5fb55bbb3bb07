// Command artifacts serves the functions artifacts and agentapi: a pod calls both, and so waits for
// one cold start.
package main

import (
	"context"
	"errors"
	"os"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(open, "Hands uploaded files to agents, and takes results and records of runs.", &artifacts.Settings{}))
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

func open(ctx context.Context, env *platform.Env) (b both, err error) {
	var agentErr error
	b.artifacts, err = artifacts.Open(ctx, env)
	b.agent, agentErr = agentapi.Open(ctx, env)
	return b, errors.Join(err, agentErr)
}
