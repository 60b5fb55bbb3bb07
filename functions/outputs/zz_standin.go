package outputs

import (
	"context"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/platform"
)

type Function struct{}

func Open(ctx context.Context, env *platform.Env) (*Function, error) { return &Function{}, nil }
func (f *Function) Mount(r *api.Router)                              {}
