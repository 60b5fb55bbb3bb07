package events

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
// bound a job whose end starts it again would never stop. MAX_CHAINED_JOBS bounds a chain that
// branches.
const maxHops = 16

// claimedHops is how many jobs come before the next one, as an event says. Anybody can claim that,
// so it only counts where nothing is recorded: it can only make a chain shorter.
func claimedHops(e cloudevent.Event) int {
	n, err := types.ToInteger(e.Extensions()[event.Hops])
	if err != nil {
		return 0
	}
	return int(max(n, 0))
}

// lineage returns where the job stands that an event is to start, and refuses one beyond the bounds
// of its chain. The event of a job continues that job's chain as it is recorded. Any other event
// begins one, however many jobs it says come before.
func (f *Function) lineage(ctx context.Context, e cloudevent.Event, template string) (ledger.Lineage, error) {
	id, step, known := event.StepOf(e)
	if !known || !step.Announced() {
		return ledger.Lineage{Hops: claimedHops(e)}, withinHops(claimedHops(e))
	}
	own := e.Extensions()[event.Template] == template
	index, err := f.records.Index(ctx, id)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return ledger.Lineage{}, err
	}
	var before ledger.Lineage
	if err == nil {
		own = index.Template != nil && index.Template.Name == template
		before = ledger.LineageOf(index)
	} else if before, err = f.records.Lineage(ctx, id); err != nil {
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
	return next, f.admission.CheckChain(ctx, next.Root)
}

func withinHops(n int) error {
	if n <= maxHops {
		return nil
	}
	return job.Invalid(event.Hops, fmt.Sprintf(
		"%d jobs have started each other by events, and no more are let in: is a Trigger without a filter for template?",
		n-1))
}
