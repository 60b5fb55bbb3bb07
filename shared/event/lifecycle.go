package event

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/job"
)

// Extensions of our events: those of the distributed tracing extension, what template a job was
// started from, and how many jobs come before it that each started the next by an event.
const (
	TraceParent = "traceparent"
	TraceState  = "tracestate"
	Template    = "template"
	Hops        = "jobhops"
)

// maxData bounds an event: brokers have limits, and arguments can have a megabyte.
const maxData = 256 << 10

// Of returns the event that announces a step. Its data is the job as its owner sees it, without its
// arguments and the list of its files where those are too long for an event.
func Of(source string, n job.Notice) event.Event {
	e := New(Type(n.Step), source, n.Status.JobID, n.At)
	data, err := json.Marshal(n.Status)
	if err == nil && len(data) > maxData {
		short := *n.Status
		short.Args, short.Files = []string{}, []job.File{}
		data, err = json.Marshal(&short)
	}
	if err == nil {
		err = e.SetData(event.ApplicationJSON, json.RawMessage(data))
	}
	if err != nil { // no status does that; the event still says what has become of which job
		e.DataEncoded = nil
	}
	for name, value := range map[string]string{TraceParent: n.Trace.Parent, TraceState: n.Trace.State} {
		if value != "" {
			e.SetExtension(name, value)
		}
	}
	if n.Status.Template != nil {
		e.SetExtension(Template, n.Status.Template.Name)
	}
	if n.Hops > 0 {
		e.SetExtension(Hops, n.Hops)
	}
	return e
}

// Type is the type of the events that announce a step.
func Type(s job.Step) string { return typePrefix + string(s) + typeVersion }

// StepOf returns the job and the step that one of our events is about, and false for any other
// event.
func StepOf(e event.Event) (job.ID, job.Step, bool) {
	verb, ours := strings.CutPrefix(e.Type(), typePrefix)
	step, current := strings.CutSuffix(verb, typeVersion)
	id, err := job.ParseID(e.Subject())
	return id, job.Step(step), ours && current && err == nil
}

// Publisher sends the events of jobs' steps to a sink.
type Publisher struct {
	Sink   Sink
	Source string
	Log    *slog.Logger
}

// Publish sends the step's event. If it is lost, the reaper sends it again.
func (p *Publisher) Publish(ctx context.Context, n job.Notice) {
	if err := p.Sink.Send(ctx, Of(p.Source, n)); err != nil {
		p.Log.Warn("event not sent; the reaper will", "job", n.Status.JobID, "step", n.Step, "error", err)
	}
}

// Outbox has the steps that a sink has not taken yet.
type Outbox interface {
	// Published removes a step.
	Published(ctx context.Context, id job.ID, step job.Step) error
}

// OutboxSink is a Sink that removes from the outbox what it has taken.
type OutboxSink struct {
	Sink
	Outbox Outbox
}

var _ Sink = (*OutboxSink)(nil)

// Send returns nil once the event is taken and no longer in the outbox.
func (r *OutboxSink) Send(ctx context.Context, e event.Event) error {
	if err := r.Sink.Send(ctx, e); err != nil {
		return err
	}
	id, step, ours := StepOf(e)
	if !ours {
		return nil
	}
	return r.Outbox.Published(ctx, id, step)
}

// Router is a Sink before two others: the launcher in the same process gets the events that have a
// job launched, and Outside, unless it is nil, those that the rest of the world may see.
type Router struct{ Launcher, Outside Sink }

var (
	_ Sink   = Router{}
	_ waiter = Router{}
)

// Send returns what went wrong with either.
func (r Router) Send(ctx context.Context, e event.Event) error {
	return r.send(e, func(s Sink) error { return s.Send(ctx, e) })
}

// SendAndWait is Send, and waits for both.
func (r Router) SendAndWait(ctx context.Context, e event.Event) error {
	return r.send(e, func(s Sink) error { return SendAndWait(ctx, s, e) })
}

func (r Router) send(e event.Event, to func(Sink) error) error {
	var errs [2]error
	if e.Type() == Submitted || e.Type() == Launch {
		errs[0] = to(r.Launcher)
	}
	if r.Outside != nil && e.Type() != Launch {
		errs[1] = to(r.Outside)
	}
	return errors.Join(errs[:]...)
}
