// Package events starts jobs for events: those of a template, and those that an event brings along.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/trigger"
)

// Settings say which events are taken.
type Settings struct {
	// EventTypes and EventSources are patterns: with * at the end, one stands for all that begin so.
	EventTypes   []string      `env:"EVENT_TYPES" envDefault:"*"`
	EventSources []string      `env:"EVENT_SOURCES" envDefault:"*"`
	MaxEvent     settings.Size `env:"MAX_EVENT_BYTES" envDefault:"4Mi"`
}

// Check finds settings with which no event could be taken.
func (s *Settings) Check() error {
	if s.MaxEvent == 0 {
		return errors.New("MAX_EVENT_BYTES: 0 lets no event in; set at least 64Ki")
	}
	return nil
}

// Records are what is known of jobs.
type Records interface {
	Earlier(ctx context.Context, keyHash string) (*job.Index, error)
	Index(ctx context.Context, id job.ID) (*job.Index, error)
	Live(ctx context.Context, id job.ID) (*job.Index, error)
	Lineage(ctx context.Context, id job.ID) (ledger.Lineage, error)
	Terminal(ctx context.Context, id job.ID) (*job.Terminal, error)
	Outputs(ctx context.Context, id job.ID) ([]job.File, error)
}

// Deps is what events works with.
type Deps struct {
	Env       *platform.Env
	Admission *admission.Controller
}

// Function answers POST and OPTIONS /events.
type Function struct {
	settings  Settings
	admission *admission.Controller
	records   Records
	bucket    *store.Store
	templates *template.Store
	resolving chan struct{} // has a value for each event whose arguments are being found
	log       *slog.Logger
}

// New returns the function.
func New(d Deps) (*Function, error) {
	f := &Function{admission: d.Admission, resolving: make(chan struct{}, runtime.GOMAXPROCS(0)), log: d.Env.Log}
	var errs [3]error
	errs[0] = d.Env.Load(&f.settings)
	f.bucket, errs[1] = d.Env.Store()
	f.records, errs[2] = d.Env.Ledger()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	f.templates = template.NewStore(f.bucket, d.Env.Now)
	return f, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.ReceiveEvent, f.receive)
	r.Handle(routes.AllowEvents, f.handshake)
}

// subscription is what the query of POST /events says: what to start, and what to bring along.
type subscription struct {
	template string
	outputs  bool           // those of the job that the event is about
	caller   *access.Caller // nil: the Broker
}

func (f *Function) parseSubscription(r *http.Request) (s subscription, err error) {
	query := api.Query{Names: []string{"template", "withOutputs"}, Others: map[string]string{"outputs": "withOutputs"}}
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		return s, err
	}
	if caller, known := access.From(r.Context()); known {
		s.caller = &caller
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

// owner is whom a job belongs to that an event brings along. What an event itself says of its owner
// is only a claim.
func (s *subscription) owner() string {
	if s.caller == nil {
		return job.LocalOwner
	}
	return s.caller.Owner
}

// mayStart reports whether the event may start a job from the template: one of the caller's own, or
// for the Broker one that says so.
func (s *subscription) mayStart(v *template.Version, e cloudevent.Event) error {
	if s.caller != nil {
		if !s.caller.Sees(v.Owner) {
			return access.Foreign(template.Unknown(v.Name))
		}
		return nil
	}
	if v.Events == nil || !matches(v.Events.Types, e.Type()) || !matches(v.Events.Sources, e.Source()) {
		return job.Refuse(job.ErrForbidden, "template", fmt.Sprintf("%q is not started by events of this type and source; "+
			"PUT it with eventTypes and eventSources that allow them", v.Name))
	}
	return nil
}

// receive starts a job for each event in the request. Its answers are made for a Broker: 202
// without a body for what is done, now or by an earlier delivery; 404, 409 and 5xx for what may
// succeed when it is delivered again; other 4xx for what never will.
func (f *Function) receive(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	s, err := f.parseSubscription(r)
	if err != nil {
		return err
	}
	f.admission.LimitReading(w)
	events, err := trigger.Read(w, r, int64(f.settings.MaxEvent))
	if err != nil {
		return err
	}
	var started []string
	var failed error
	for _, e := range events {
		index, err := f.handle(r.Context(), s, e, r)
		if err != nil {
			f.log.WarnContext(r.Context(), "event starts no job", "event", e.ID(), "source", e.Source(), "type", e.Type(),
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
