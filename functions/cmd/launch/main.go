// Command launch receives events and makes Kubernetes Jobs of their jobs.
package main

import (
	"context"
	"os"

	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(open, "Makes Kubernetes Jobs of submitted jobs.", &kubernetes.Settings{}))
}

func open(ctx context.Context, env *platform.Env) (*launch.Function, error) {
	l, err := kubernetes.OpenLauncher(ctx, env)
	if err != nil {
		return nil, err
	}
	return launch.Open(ctx, env, l)
}
