package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/trigger"
)

// subscription is what the query of POST /events says: what to start, and what to bring along.
type subscription struct {
	template string
	outputs  bool // those of the job that the event is about
	// owner is who the request proves to be sent by, if by anybody. A job that an event brings along
	// is theirs.
	owner job.ID
}

func (f *Function) parseSubscription(r *http.Request) (s subscription, err error) {
	query := api.Query{Names: []string{"template", "withOutputs"}, Others: map[string]string{"outputs": "withOutputs"}}
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		return s, err
	}
	if s.owner, err = f.sender(r); err != nil {
		return s, err
	}
	s.template = values["template"]
	if _, sent := values["template"]; sent && template.CheckName(s.template) != "" {
		return s, job.Invalid("template", template.CheckName(s.template))
	}
	if text, sent := values["withOutputs"]; sent {
		if s.outputs, err = api.Flag("withOutputs", text); err != nil {
			return s, err
		}
	}
	if s.outputs && s.template == "" {
		return s, api.BadRequest("withOutputs", "needs a template")
	}
	return s, nil
}

// sender returns the owner whose token the request carries, and none for a request without any.
// What an event itself says of its owner is only a claim.
func (f *Function) sender(r *http.Request) (job.ID, error) {
	owner, err := f.claimedOwner(r)
	if errors.Is(err, job.ErrForbidden) || errors.Is(err, job.ErrUnauthorized) {
		return "", job.Refuse(job.ErrUnauthorized, "", "this is no owner's token; send one, such as the answer to PUT of "+
			"a template has, or leave Authorization out")
	}
	return owner, err
}

// receive starts a job for each event in the request. Its answers are made for a Broker: 202
// without a body for what is done, now or by an earlier delivery; 404, 409 and 5xx for what may
// succeed when it is delivered again; other 4xx for what never will.
func (f *Function) receive(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	s, err := f.parseSubscription(r)
	if err != nil {
		return err
	}
	f.limitReading(w)
	events, err := trigger.Read(w, r, int64(f.settings.MaxEvent))
	if err != nil {
		return err
	}
	var started []string
	var failed error
	for _, e := range events {
		index, err := f.handle(r.Context(), s, e, r)
		if err != nil {
			f.Env.Log.WarnContext(r.Context(), "event starts no job", "event", e.ID(), "source", e.Source(), "type", e.Type(),
				"error", err)
		}
		if index != nil {
			started = append(started, "/api/v1/jobs/"+string(index.JobID))
		}
		// A batch is delivered again as long as that may help one of its events: none starts twice.
		if failed == nil || err != nil && !final(err) && final(failed) {
			failed = err
		}
	}
	if failed != nil {
		return failed
	}
	if len(started) == 1 {
		w.Header().Set("Location", started[0])
	} else {
		for _, path := range started {
			w.Header().Add("Link", "<"+path+`>; rel="item"`)
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// final reports whether delivering an event again will not help.
func final(err error) bool {
	return errors.Is(err, job.ErrInvalid) || errors.Is(err, job.ErrForbidden) || errors.Is(err, job.ErrTooLarge)
}

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
	keyHash := ledger.HashKey(ledger.EventKeys, s.template, strconv.FormatBool(s.outputs), string(s.owner),
		trigger.Identity(e))
	index, err := f.Events.Ledger.Earlier(ctx, keyHash)
	if index == nil && err == nil {
		index, err = f.startBy(ctx, s, e, draft{KeyHash: keyHash, Fingerprint: "event", Trace: traceIn(e, r)})
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
	return traceOf(r)
}

// startBy starts the job that an event asks for.
func (f *Function) startBy(ctx context.Context, s subscription, e cloudevent.Event, d draft) (*job.Index, error) {
	if s.template == "" {
		d.Owner, d.Chain.Hops = s.owner, claimedHops(e)
		if err := withinHops(d.Chain.Hops); err != nil {
			return nil, err
		}
		return f.startRequested(ctx, e, d)
	}
	v, err := f.templates.Current(ctx, s.template)
	if err != nil {
		return nil, err
	}
	if d.Chain, err = f.chainOf(ctx, e, s.template); err != nil {
		return nil, err
	}
	started, err := trigger.New(e)
	if err != nil {
		return nil, err
	}
	var inputs []source
	if s.outputs {
		if inputs, err = f.outputsOf(ctx, e, v.Owner); err != nil {
			return nil, err
		}
	}
	return f.startFrom(ctx, v, func(spec *job.Spec) ([]source, error) { return f.equip(ctx, spec, started, inputs) }, d)
}

// equip gives a job what its event has.
func (f *Function) equip(
	ctx context.Context, spec *job.Spec, e *trigger.Event, inputs []source,
) (files []source, err error) {
	if spec.Args, err = f.resolve(ctx, spec.Args, e); err != nil {
		return nil, err
	}
	env := e.Env()
	for name, value := range spec.Env {
		// A variable of this kind says what the event says. One that the event does not have is not
		// there.
		if !strings.HasPrefix(name, trigger.EnvPrefix) {
			env[name] = value
		}
	}
	spec.Env = env
	for _, file := range e.Files() {
		files = append(files, source{name: file.Name, open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(file.Open()), nil
		}})
	}
	return append(files, inputs...), nil
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

func inMemory(files map[string][]byte) []source {
	var list []source
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, source{name: name, open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(files[name])), nil
		}})
	}
	return list
}

// maxInputs bounds how many outputs of one job another can have.
const maxInputs = 1000

// outputsOf are the outputs of the job that the event is about. Anybody can send an event, so what
// counts is not that it came but whose the two jobs are, and what is recorded of the first.
func (f *Function) outputsOf(ctx context.Context, e cloudevent.Event, owner job.ID) ([]source, error) {
	id, step, ours := event.StepOf(e)
	if !ours || !step.Ends() {
		return nil, job.Invalid("withOutputs", "is for events that a job has succeeded, failed or was cancelled")
	}
	index, err := f.Events.Ledger.Live(ctx, id)
	if errors.Is(err, job.ErrNotFound) || err == nil && (index.Owner == "" || index.Owner != owner) {
		return nil, job.Refuse(job.ErrForbidden, "withOutputs",
			"the job is gone, or its template has another owner than this one; PUT both with the same token")
	}
	if err != nil {
		return nil, err
	}
	t, err := f.Events.Ledger.Terminal(ctx, id)
	if errors.Is(err, job.ErrNotFound) || err == nil && job.EndOf(t.Phase) != step {
		return nil, job.Invalid("withOutputs", fmt.Sprintf("the event says that the job has %s, and it has not", step))
	}
	if err != nil {
		return nil, err
	}
	files, err := f.Events.Ledger.Outputs(ctx, id)
	if err != nil {
		return nil, err
	}
	total := int64(0)
	list := make([]source, len(files))
	for i, file := range files {
		total += file.Size
		name := trigger.InputsDir + "/" + file.Name
		list[i] = source{name: name, mode: file.Mode, open: func(ctx context.Context) (io.ReadCloser, error) {
			r, err := f.bucket.Open(ctx, ledger.ResultKey(id, file.Name), 0, -1)
			if errors.Is(err, job.ErrNotFound) {
				return nil, job.Refuse(job.ErrForbidden, "withOutputs", "the job has just been removed")
			}
			return r, err
		}}
	}
	if len(list) > maxInputs || total > int64(f.settings.MaxUpload) {
		return nil, job.Refuse(job.ErrTooLarge, "withOutputs", fmt.Sprintf(
			"the job has %d outputs with %d bytes; at most %d with %d (MAX_UPLOAD_BYTES) are handed on", len(list), total,
			maxInputs, f.settings.MaxUpload))
	}
	return list, nil
}

// startRequested starts the job that an event brings along.
func (f *Function) startRequested(ctx context.Context, e cloudevent.Event, d draft) (*job.Index, error) {
	limits := trigger.Limits{Files: int(f.settings.MaxFiles), NameBytes: min(int(f.settings.MaxName), job.MaxNameBytes)}
	request, files, err := trigger.ParseRequest(e, f.defaults(), limits)
	if request == nil {
		return nil, err
	}
	sent := &form.Job{Spec: request.Spec}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sent.Files = append(sent.Files, job.File{Name: name})
	}
	if err := f.check(sent, err); err != nil {
		return nil, err
	}
	d.Spec = request.Spec
	return f.admit(ctx, int64(len(e.Data())), func(ctx context.Context, id job.ID) (*draft, error) {
		stored, err := f.copyMore(ctx, f.saver(id), nil, inMemory(files))
		filled := d
		filled.Files = stored
		return &filled, err
	})
}
