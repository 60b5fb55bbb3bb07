package launch

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/process"
)

// Open returns the function over a launcher of processes on this machine, and what to call before the end.
func Open(ctx context.Context, env *platform.Env) (*Function, error) {
	l, launcherErr := process.Open(ctx, env)
	records, err := env.Ledger()
	if err := errors.Join(launcherErr, err); err != nil {
		return nil, err
	}
	env.OnDrain(l.Drain)
	if err := l.Recover(ctx); err != nil {
		return nil, err
	}
	return New(l, records, env.Log), nil
}
