package all

import (
	"context"

	"go-job-orchestrator/functions/status"
)

// openStatus returns the function with the runtimes of this machine.
func (a *app) openStatus(ctx context.Context) (*status.Function, error) {
	f, err := status.Open(ctx, a.env)
	if err != nil {
		return nil, err
	}
	f.SetRuntimes(status.MachineRuntimes(a.host.Machine))
	return f, nil
}
