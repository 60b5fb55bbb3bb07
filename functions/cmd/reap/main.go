// Command reap makes one round of reaping. In a cluster it also looks after Jobs.
package main

import (
	"context"
	"errors"
	"os"

	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
)

func main() { os.Exit(reap.Main(open, &kubernetes.Settings{})) }

func open(ctx context.Context, env *platform.Env) (*reap.Function, error) {
	o, err := kubernetes.OpenObserver(env)
	if errors.Is(err, kubernetes.ErrNoCluster) {
		return reap.Open(ctx, env)
	}
	if err != nil {
		return nil, err
	}
	return reap.OpenWith(ctx, env, o)
}
