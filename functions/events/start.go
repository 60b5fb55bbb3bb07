package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/trigger"
)

// handle starts the job of one event, and returns the one that an earlier delivery started. Both
// are nil when that one has been removed.
func (f *Function) handle(
	ctx context.Context, s subscription, e cloudevent.Event, r *http.Request,
) (*job.Index, error) {
	if err := f.admits(e); err != nil {
		return nil, err
	}
	// One event may start several templates, but each of them once. Its identity has all that it says,
	// or one that was forged could take the place of the real one; the rest is what a request adds to
	// it.
	owner := s.owner()
	if owner == job.LocalOwner { // events without a caller must keep their hashes from before there were owners
		owner = ""
	}
	keyHash := ledger.HashKey(ledger.EventKeys, s.template, strconv.FormatBool(s.outputs), owner, trigger.Identity(e))
	index, err := f.records.Earlier(ctx, keyHash)
	if index == nil && err == nil {
		index, err = f.startBy(ctx, s, e, admission.Draft{
			KeyHash: keyHash, Fingerprint: "event", Event: true, Trace: traceIn(e, r),
		})
	}
	if errors.Is(err, job.ErrGone) {
		return nil, nil //nolint:nilnil // done and removed
	}
	return index, err
}

// admits refuses an event that the settings do not let in.
func (f *Function) admits(e cloudevent.Event) error {
	if e.Type() == event.Launch { // or a Trigger without a filter would start a job for each that does not start
		return job.Invalid("type", event.Launch+" is between the reaper and the launcher; have the Trigger filter for type")
	}
	if e.Type() == event.Audit { // or such a Trigger would start jobs for each call of a user
		return job.Invalid("type", event.Audit+" starts no jobs; have the Trigger filter for type")
	}
	if !matches(f.settings.EventTypes, e.Type()) {
		return job.Refuse(job.ErrForbidden, "type", fmt.Sprintf("%.200q is not a type of event that is taken here "+
			"(EVENT_TYPES)", e.Type()))
	}
	if !matches(f.settings.EventSources, e.Source()) {
		return job.Refuse(job.ErrForbidden, "source", fmt.Sprintf("%.200q is not a source that events are taken from here "+
			"(EVENT_SOURCES)", e.Source()))
	}
	return nil
}

func matches(patterns []string, value string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, open := strings.CutSuffix(strings.TrimSpace(p), "*")
		return open && strings.HasPrefix(value, prefix) || value == prefix
	})
}

// traceIn is the trace that the event belongs to, else the request.
func traceIn(e cloudevent.Event, r *http.Request) job.Trace {
	text := func(name string) string { s, _ := e.Extensions()[name].(string); return s }
	if t := job.NewTrace(text(event.TraceParent), text(event.TraceState)); t.Parent != "" {
		return t
	}
	return admission.Trace(r)
}

// startBy starts the job that an event asks for.
func (f *Function) startBy(
	ctx context.Context, s subscription, e cloudevent.Event, d admission.Draft,
) (*job.Index, error) {
	if s.template == "" {
		d.Owner, d.Chain.Hops = s.owner(), claimedHops(e)
		if err := withinHops(d.Chain.Hops); err != nil {
			return nil, err
		}
		return f.startRequested(ctx, s, e, d)
	}
	v, err := f.templates.Current(ctx, s.template)
	if err != nil {
		return nil, err
	}
	if err := s.mayStart(v, e); err != nil {
		return nil, err
	}
	if d.Chain, err = f.lineage(ctx, e, s.template); err != nil {
		return nil, err
	}
	started, err := trigger.New(e)
	if err != nil {
		return nil, err
	}
	var inputs []admission.Source
	if s.outputs {
		if inputs, err = f.outputsOf(ctx, e, v.Owner); err != nil {
			return nil, err
		}
	}
	return f.admission.FromTemplate(ctx, v, admission.Start{
		Draft: d, Files: append(filesOf(started), inputs...),
		Change: func(spec job.Spec) (job.Spec, error) { return f.equip(ctx, spec, started) },
	})
}

// filesOf are the files that an event brings along.
func filesOf(e *trigger.Event) (files []admission.Source) {
	for _, file := range e.Files() {
		files = append(files, admission.Source{Name: file.Name, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(file.Open()), nil
		}})
	}
	return files
}

// equip gives a job the arguments and variables that its event has.
func (f *Function) equip(ctx context.Context, spec job.Spec, e *trigger.Event) (job.Spec, error) {
	args, err := f.resolve(ctx, spec.Args, e)
	if err != nil {
		return spec, err
	}
	env := e.Env()
	for name, value := range spec.Env {
		// These variables say what the event says. Those that the event does not have are left out.
		if !strings.HasPrefix(name, trigger.EnvPrefix) {
			env[name] = value
		}
	}
	spec.Args, spec.Env = args, env
	return spec, nil
}

// resolve lets only so many events have their arguments found at a time as there are CPUs to do it:
// more would not be faster, and each of them takes some memory.
func (f *Function) resolve(ctx context.Context, args []string, e *trigger.Event) ([]string, error) {
	select {
	case f.resolving <- struct{}{}:
		defer func() { <-f.resolving }()
		return trigger.Resolve(ctx, args, e)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
