// Command status serves the function of that name. In a cluster it also asks Kubernetes.
package main

import (
	"context"
	"errors"
	"os"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(open, "Shows and lists jobs.", &kubernetes.Settings{}))
}

func open(ctx context.Context, env *platform.Env) (*status.Function, error) {
	o, err := kubernetes.OpenObserver(env)
	if errors.Is(err, kubernetes.ErrNoCluster) {
		return status.Open(ctx, env)
	}
	if err != nil {
		return nil, err
	}
	return status.OpenWith(ctx, env, o)
}
