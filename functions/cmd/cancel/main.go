// Command cancel serves the function of that name. In a cluster it also deletes Jobs.
package main

import (
	"context"
	"errors"
	"os"

	"go-job-orchestrator/functions/cancel"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(open, "Cancels and removes jobs.", &kubernetes.Settings{}))
}

func open(ctx context.Context, env *platform.Env) (*cancel.Function, error) {
	o, err := kubernetes.OpenObserver(env)
	if errors.Is(err, kubernetes.ErrNoCluster) {
		return cancel.Open(ctx, env)
	}
	if err != nil {
		return nil, err
	}
	return cancel.OpenWith(ctx, env, o.Stopper())
}
