package all

import (
	"context"
	"errors"
	"fmt"

	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/process"
	"go-job-orchestrator/shared/store"
)

// processes runs jobs as child processes of this one.
type processes struct {
	*process.Host
	records *ledger.Ledger
	store   *store.Store
}

func openProcesses(ctx context.Context, env *platform.Env, records *ledger.Ledger) (*processes, error) {
	s, err := env.Store()
	if err != nil {
		return nil, err
	}
	host, err := process.Open(ctx, env, records)
	if err != nil {
		return nil, err
	}
	return &processes{Host: host, records: records, store: s}, nil
}

// Recover continues with the jobs that an earlier process left. No other process stores uploads
// here, so an incomplete upload was cut off.
func (p *processes) Recover(ctx context.Context) error {
	if _, err := p.records.SweepUploads(ctx, 0); err != nil {
		return fmt.Errorf("sweep uploads: %w", err)
	}
	return errors.Join(p.store.Sweep(ctx, 0), p.Host.Recover(ctx))
}
