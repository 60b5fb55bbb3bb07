package launch

import (
	"context"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
)

// Open returns the function over a launcher.
func Open(_ context.Context, env *platform.Env, l Launcher) (*Function, error) {
	records, err := event.OpenLedger(env)
	if err != nil {
		return nil, err
	}
	return New(l, records, env.Log), nil
}
