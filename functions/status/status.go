// Package status answers what jobs there are and what state they are in.
package status

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/longpoll"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/secret"
)

// Records are the stored records of jobs.
type Records interface {
	Status(ctx context.Context, id job.ID) (*job.Status, error)
	Watch(id job.ID) (changed <-chan struct{}, leave func())
	List(ctx context.Context, q ledger.Query) (ledger.Page, error)
	// IDs lists the jobs without reading them, and Summary reads one.
	IDs(ctx context.Context, q ledger.Query) ([]job.ID, error)
	Summary(ctx context.Context, id job.ID) (*job.Summary, error)
	// WatchAll signals that this process has changed any job.
	WatchAll() (changed <-chan struct{}, leave func())
}

// Observer asks the place where a job runs about a job that is not over. The records alone do not
// say why a job does not start, or that its node is gone.
type Observer interface {
	Observe(ctx context.Context, id job.ID) (job.Observation, error)
}

// Queue is where jobs wait until they can run.
type Queue interface {
	Ahead(id job.ID) (int, bool)
}

// Function answers GET /api/v1/jobs, GET /api/v1/jobs/events, GET /api/v1/jobs/:id, GET
// /api/v1/jobs/:id/events and GET /api/v1/server.
type Function struct {
	records  Records
	observer Observer // nil: the records are all there is
	queue    Queue    // nil: where a job waits is not known
	pollers  pollers
	runtimes []backend.Runtime
	profiles *profile.File
	login    access.Login
	secrets  secret.Catalog
	log      *slog.Logger
}

// Deps is what status works with.
type Deps struct {
	Env      *platform.Env
	Records  Records  // nil: those in the bucket
	Observer Observer // nil: the records are all there is
	Queue    Queue    // nil: where a job waits is not known
	Runtimes []backend.Runtime
	Profiles *profile.File  // that jobs can name; nil: there are none
	Login    access.Login   // how callers log in
	Secrets  secret.Catalog // of the operator; nil: the one that the reaper publishes
}

// New returns the function.
func New(d Deps) (*Function, error) {
	f := &Function{records: d.Records, observer: d.Observer, queue: d.Queue, runtimes: d.Runtimes,
		profiles: d.Profiles, login: d.Login, secrets: d.Secrets, log: d.Env.Log}
	if f.secrets == nil {
		s, err := d.Env.Store()
		keys, keysErr := d.Env.Keys()
		if err := errors.Join(err, keysErr); err != nil {
			return nil, err
		}
		f.secrets = secret.NewPublished(s, keys)
	}
	if f.records == nil {
		records, err := d.Env.Ledger()
		if err != nil {
			return nil, err
		}
		f.records = records
	}
	f.pollers = pollers{observer: d.Observer, warn: f.warn, jobs: map[job.ID]*poller{}}
	return f, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.ListJobs, f.list)
	r.Handle(routes.WatchJobs, f.watch)
	r.Handle(routes.GetJob, f.get)
	r.Handle(routes.GetJobEvents, f.events)
	r.Handle(routes.GetServer, f.server)
	r.Handle(routes.GetCaller, f.caller)
}

func (f *Function) get(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return err
	}
	wait, asked := longpoll.Preferred(r.Header)
	look := longpoll.Look(f.status)
	var changed <-chan struct{}
	if wait > 0 {
		var leave func()
		look, changed, leave = f.watching(r.Context(), id)
		defer leave()
	}
	s, err := longpoll.Until(r.Context(), wait, look, id, changed)
	if err != nil {
		return err
	}
	if asked {
		w.Header().Set(longpoll.Applied(wait))
	}
	api.WriteJSON(w, http.StatusOK, f.placed(s))
	return nil
}

// placed adds the position of a job in the queue of this process. The queue is asked last, so that
// the position is as new as the answer.
func (f *Function) placed(s *job.Status) *job.Status {
	if f.queue == nil || s.Phase.Terminal() {
		return s
	}
	ahead, waits := f.queue.Ahead(s.JobID)
	if !waits {
		return s
	}
	then := *s
	then.Queue = job.InQueue(ahead)
	return &then
}

// status returns what the records say. For a job that is not over it adds what the observer sees.
func (f *Function) status(ctx context.Context, id job.ID) (*job.Status, error) {
	s, err := f.records.Status(ctx, id)
	if err != nil || s.Phase.Terminal() || f.observer == nil {
		return s, err
	}
	o, err := f.observer.Observe(ctx, id)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		f.warn(ctx, id, err)
	}
	return f.complete(ctx, s, o, err)
}

// watching returns a status function for a client that calls it again and again. Each call reads
// the records, and the observer is asked less often. changed has a value when this process has
// changed the records. The client has to call leave when it no longer waits.
func (f *Function) watching(
	ctx context.Context, id job.ID,
) (look longpoll.Look, changed <-chan struct{}, leave func()) {
	changed, unwatch := f.records.Watch(id)
	if f.observer == nil {
		return f.status, changed, unwatch
	}
	v, quit := f.pollers.join(ctx, id)
	look = func(ctx context.Context, id job.ID) (*job.Status, error) {
		s, err := f.records.Status(ctx, id)
		if err != nil || s.Phase.Terminal() {
			return s, err
		}
		seen, ok := v.latest(ctx, momentOf(s))
		if !ok {
			return s, nil
		}
		return f.complete(ctx, s, seen.saw, seen.fault)
	}
	return look, changed, func() { quit(); unwatch() }
}

// complete adds an observation of a job to the status from the records.
func (f *Function) complete(ctx context.Context, s *job.Status, o job.Observation, err error) (*job.Status, error) {
	switch {
	case errors.Is(err, job.ErrNotFound) || err == nil && o.Over:
		return f.records.Status(ctx, s.JobID)
	case err != nil:
		s.Message = "Kubernetes could not be asked; this is what was last recorded"
	case o.Terminal != nil:
		s.Conclude(o.Terminal)
		s.Message = unrecorded(o.Terminal.Message)
	case o.Attempt != nil && len(s.Attempts) == o.Attempt.Number:
		s.Attempts = append(slices.Clone(s.Attempts[:o.Attempt.Number-1]), *o.Attempt)
		s.Reason, s.Message = job.ReasonRetrying, unrecorded(o.Attempt.Message)
	case o.Reason == job.ReasonStarting && (s.Phase == job.Running && s.Reason == "" || s.Reason == job.ReasonPreparing):
		// the records are ahead of it
	case o.Reason != "" || o.Message != "":
		s.Reason, s.Message = o.Reason, o.Message
	}
	return s, nil
}

// unrecorded adds to a message that the end was seen but is not recorded yet. The reaper records
// it, because a request for a status must not change anything.
func unrecorded(message string) string {
	const note = "this is what Kubernetes says, and is being recorded"
	if message == "" {
		return note
	}
	return message + "; " + note
}

func (f *Function) warn(ctx context.Context, id job.ID, err error) {
	f.log.WarnContext(ctx, "job not observed", "job", id, "error", err)
}
