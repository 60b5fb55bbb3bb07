// Command runner is the launch function over child processes, for tests of the functions as
// processes of their own without a cluster.
package main

import (
	"context"
	"os"

	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/process"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(platform.With(open), "Runs jobs for a test."))
}

func open(env *platform.Env) (*launch.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	host, err := process.Open(ctx, env, events.Ledger)
	if err != nil {
		return nil, err
	}
	env.OnDrain(host.Drain)
	if err := host.Recover(ctx); err != nil {
		return nil, err
	}
	return launch.New(launch.Deps{Launcher: host, Records: events.Ledger, Log: env.Log}), nil
}
