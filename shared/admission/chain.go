package admission

import (
	"context"
	"errors"
	"fmt"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// CheckChain refuses another job of a chain that is full. Commit decides again; this is for before
// any file is copied.
func (c *Controller) CheckChain(ctx context.Context, root job.ID) error {
	most := int(c.Settings.MaxChained)
	n, err := c.records.ChainLength(ctx, root, most)
	if err == nil && n >= most {
		return c.chainFull(root)
	}
	return err
}

func (c *Controller) chainFull(root job.ID) error {
	return job.Invalid("template", fmt.Sprintf("%d jobs have been started by the events of job %s and of those that it "+
		"started, and no more are let in (MAX_CHAINED_JOBS): is a Trigger without a filter for type or template?",
		c.Settings.MaxChained, root))
}

// recordChained is recordKeyed for a job that may count in a chain. A job that is not accepted does
// not count.
func (c *Controller) recordChained(ctx context.Context, index *job.Index, d Draft) (*job.Index, error) {
	if d.Chain.Root == "" {
		return c.recordKeyed(ctx, index, d)
	}
	link, err := c.records.JoinChain(ctx, index.JobID, d.Chain, int(c.Settings.MaxChained))
	if errors.Is(err, ledger.ErrChainFull) {
		return nil, c.chainFull(d.Chain.Root)
	}
	if err != nil {
		return nil, err
	}
	recorded, err := c.recordKeyed(ctx, index, d)
	if err == nil && recorded.JobID == index.JobID {
		return recorded, nil
	}
	if leaveErr := c.records.LeaveChain(ctx, index.JobID, link); leaveErr != nil {
		c.log.WarnContext(ctx, "chain has a job too many", "job", index.JobID, "root", d.Chain.Root, "error", leaveErr)
	}
	return recorded, err
}
