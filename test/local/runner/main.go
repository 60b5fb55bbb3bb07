// Command runner is the launch function over child processes, for tests of the functions as processes of their own without a cluster.
package main

import (
	"context"
	"os"

	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/process"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(open, "Runs jobs for a test."))
}

func open(ctx context.Context, env *platform.Env) (*launch.Function, error) {
	host, err := process.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	env.OnDrain(host.Drain)
	if err := host.Recover(ctx); err != nil {
		return nil, err
	}
	return launch.Open(ctx, env, host)
}
