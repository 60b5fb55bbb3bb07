package function

import (
	"context"

	"go-job-orchestrator/functions/cancel"
	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/functions/status"
	kube "go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
)

// place is where jobs run: what differs for the functions that start, watch and stop them.
type place struct {
	launcher func(ctx context.Context, env *platform.Env) (launch.Launcher, error)
	status   func(ctx context.Context, env *platform.Env) (*status.Function, error)
	cancel   func(ctx context.Context, env *platform.Env) (*cancel.Function, error)
	reap     func(ctx context.Context, env *platform.Env) (*reap.Function, error)
}

// kubernetes is the cluster that this runs in.
func kubernetes() place {
	return place{
		launcher: func(ctx context.Context, env *platform.Env) (launch.Launcher, error) {
			return kube.OpenLauncher(ctx, env)
		},
		status: func(ctx context.Context, env *platform.Env) (*status.Function, error) {
			o, err := kube.OpenObserver(env)
			if err != nil {
				return nil, err
			}
			return status.OpenWith(ctx, env, o)
		},
		cancel: func(ctx context.Context, env *platform.Env) (*cancel.Function, error) {
			o, err := kube.OpenObserver(env)
			if err != nil {
				return nil, err
			}
			return cancel.OpenWith(ctx, env, o.Stopper())
		},
		reap: func(ctx context.Context, env *platform.Env) (*reap.Function, error) {
			o, err := kube.OpenObserver(env)
			if err != nil {
				return nil, err
			}
			return reap.OpenWith(ctx, env, o)
		},
	}
}
