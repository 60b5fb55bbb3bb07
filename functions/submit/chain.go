package submit

import (
	"context"
	"errors"
	"fmt"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// maxHops bounds how long a chain of jobs is, each of which started the next by an event. Without a
// bound a job whose end starts it again would never stop. A chain that branches is bounded by
// Settings.MaxChained.
const maxHops = 16

// claimedHops is how many jobs come before the next one, as an event says: that it is so only
// counts where nothing is recorded, since it can only make a chain shorter.
func claimedHops(e cloudevent.Event) int {
	n, err := types.ToInteger(e.Extensions()[event.Hops])
	if err != nil {
		return 0
	}
	return int(max(n, 0))
}

// chainOf returns where the job stands that an event is to start, and refuses one beyond the bounds
// of its chain. An event of one of our jobs continues that job's chain as it is recorded; any other
// begins one, however many jobs it says come before.
func (f *Function) chainOf(ctx context.Context, e cloudevent.Event, template string) (ledger.Lineage, error) {
	id, step, ours := event.StepOf(e)
	if !ours || !step.Announced() {
		return ledger.Lineage{Hops: claimedHops(e)}, withinHops(claimedHops(e))
	}
	own := e.Extensions()[event.Template] == template
	index, err := f.Events.Ledger.Index(ctx, id)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return ledger.Lineage{}, err
	}
	var before ledger.Lineage
	if err == nil {
		own = index.Template != nil && index.Template.Name == template
		before = ledger.LineageOf(index)
	} else if before, err = f.Events.Ledger.Lineage(ctx, id); err != nil {
		return ledger.Lineage{}, err
	} else {
		before.Hops = max(before.Hops, claimedHops(e))
	}
	if own && (step == job.StepSubmitted || step == job.StepStarted) {
		return ledger.Lineage{}, job.Invalid("template", fmt.Sprintf(
			"%q is not started by the event that one of its own jobs was %s, or it would never end; have the Trigger filter "+
				"for type, such as %s",
			template, step, event.Type(job.StepSucceeded)))
	}
	next := ledger.Lineage{Root: before.Root, Hops: before.Hops + 1}
	if err := withinHops(next.Hops); err != nil {
		return ledger.Lineage{}, err
	}
	n, err := f.Events.Ledger.ChainLength(ctx, next.Root, int(f.settings.MaxChained))
	if err == nil && n >= int(f.settings.MaxChained) { // before any file is copied
		err = f.chainFull(next.Root)
	}
	return next, err
}

func withinHops(n int) error {
	if n <= maxHops {
		return nil
	}
	return job.Invalid(event.Hops, fmt.Sprintf(
		"%d jobs have started each other by events, and no more are let in: is a Trigger without a filter for template?",
		n-1))
}

func (f *Function) chainFull(root job.ID) error {
	return job.Invalid("template", fmt.Sprintf("%d jobs have been started by the events of job %s and of those that it "+
		"started, "+
		"and no more are let in (MAX_CHAINED_JOBS): is a Trigger without a filter for type or template?",
		f.settings.MaxChained, root))
}

// recordChained is record for a job that counts in a chain. One that is not accepted does not
// count.
func (f *Function) recordChained(ctx context.Context, index *job.Index, d *draft) (*job.Index, error) {
	if d.Chain.Root == "" {
		return f.record(ctx, index, d.Fingerprint)
	}
	link, err := f.Events.Ledger.JoinChain(ctx, index.JobID, d.Chain, int(f.settings.MaxChained))
	if errors.Is(err, ledger.ErrChainFull) {
		return nil, f.chainFull(d.Chain.Root)
	}
	if err != nil {
		return nil, err
	}
	recorded, err := f.record(ctx, index, d.Fingerprint)
	if err == nil && recorded.JobID == index.JobID {
		return recorded, nil
	}
	if leaveErr := f.Events.Ledger.LeaveChain(context.WithoutCancel(ctx), index.JobID, link); leaveErr != nil {
		f.Env.Log.WarnContext(ctx, "chain has a job too many", "job", index.JobID, "root", d.Chain.Root, "error", leaveErr)
	}
	return recorded, err
}
