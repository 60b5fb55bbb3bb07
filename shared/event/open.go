package event

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// Events are the ways by which a function tells others what becomes of jobs.
type Events struct {
	Sink   Sink           // nil: there is none
	Ledger *ledger.Ledger // publishes what it records, where K_SINK is set
}

// ErrNoSink means that a function needs a sink and has none.
var ErrNoSink = errors.New("K_SINK is required: the URL that events are sent to")

// Open returns the events of a process. What is to be launched goes to local, which is the launcher
// if that is in the same process, and nil otherwise. All other events go to K_SINK. It is not
// platform.Env that has them: the SDK would then be linked by functions that only read as well, a
// third of their size and of what it costs to start them.
func Open(env *platform.Env, local Sink) (*Events, error) {
	records, err := env.Ledger()
	common, commonErr := env.Common()
	if err := errors.Join(err, commonErr); err != nil {
		return nil, err
	}
	events := &Events{Ledger: records}
	var outside Sink
	if common.Sink != "" {
		if outside, err = openOutside(env, common.Sink, records); err != nil {
			return nil, err
		}
		events.Sink = outside
	}
	if local != nil {
		async := NewAsyncSink(local, env.Log)
		env.OnDrain(async.Drain)
		events.Sink = Router{Launcher: async, Outside: outside}
	}
	if outside != nil {
		events.Ledger = records.Publishing(&Publisher{Sink: events.Sink, Source: common.BaseURL, Log: env.Log})
	}
	return events, nil
}

// openOutside returns the sink that K_SINK names. What it has taken leaves the outbox.
func openOutside(env *platform.Env, url string, records *ledger.Ledger) (Sink, error) {
	sink, err := NewHTTPSink(url)
	if err != nil {
		return nil, fmt.Errorf("K_SINK: %w", err)
	}
	if err := openAudit(env, sink); err != nil {
		return nil, err
	}
	async := NewAsyncSink(&OutboxSink{Sink: sink, Outbox: records}, env.Log)
	env.OnDrain(async.Drain)
	return async, nil
}

// openAudit has the records of calls sent too. They have room of their own, so that they cannot
// delay the events of jobs. Functions that do not open events have their records in the log alone.
func openAudit(env *platform.Env, sink Sink) error {
	common, err := env.Common()
	if err != nil {
		return err
	}
	records := NewAuditSink(sink, common.BaseURL, env.Log)
	env.AuditSink = records
	env.OnDrain(records.Drain)
	return nil
}

// Handler is a Sink in this process: to send is to call it.
type Handler func(ctx context.Context, e event.Event) error

var _ Sink = Handler(nil)

// Send implements Sink.
func (h Handler) Send(ctx context.Context, e event.Event) error { return h(ctx, e) }
