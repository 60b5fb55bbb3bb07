// Package launch starts a job when an event says that it was submitted.
package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/budget"
	ourevent "go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/wakeup"
)

// Records says which jobs still have to be launched.
type Records interface {
	// Over reports whether the job has ended.
	Over(ctx context.Context, id job.ID) (bool, error)
	// Index returns what the user asked for.
	Index(ctx context.Context, id job.ID) (*job.Index, error)
}

// Deps is what launch works with.
type Deps struct {
	Launcher backend.Launcher
	Records  Records
	Log      *slog.Logger
	// Wake starts the functions that the agent in the job's pod calls, and has the reaper look after the
	// job. It is called for each job, and when a job is about to come. It returns at once. Nil: nothing
	// is to be done.
	Wake func()
}

// Function receives events.
type Function struct{ Deps }

// New returns the function.
func New(d Deps) *Function { return &Function{d} }

// Handle launches the job that the event is about. A late, repeated or foreign event is not an
// error, because a Broker would deliver it again and again.
func (f *Function) Handle(ctx context.Context, e event.Event) error {
	id, err := ourevent.JobID(e)
	if err != nil {
		f.Log.Warn("event ignored", "event", e.ID(), "type", e.Type(), "error", err)
		return nil
	}
	over, err := f.Records.Over(ctx, id)
	if err != nil || over {
		return err
	}
	index, err := f.Records.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		f.Log.Warn("event of a job that does not exist", "job", id)
		return nil
	}
	if err != nil {
		return err
	}
	if f.Wake != nil {
		f.Wake()
	}
	return f.Launcher.Launch(ctx, index)
}

// Mount routes the function for events that come over HTTP.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.LaunchJob, f.receive)
	if f.Wake != nil {
		r.Measured(waker{f.Wake})
	}
}

// waker passes on the calls by which submit says that a job comes. Its event may be lost.
type waker struct{ wake func() }

// Answered implements api.Meter.
func (w waker) Answered(_ routes.Route, r *http.Request, _ int, _ time.Duration) {
	if wakeup.IsCall(r) {
		w.wake()
	}
}

// maxEvent bounds the body of an event.
const maxEvent = 1 << 20

// receive answers a Broker: an empty 204 for an event that is handled, 503 for one that has to be
// sent again, and 400 or 413 only for a request that is not an event or is too large.
func (f *Function) receive(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	body, err := budget.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, maxEvent), r.ContentLength, maxEvent)
	if errors.Is(err, job.ErrUnavailable) {
		return err
	}
	var e *event.Event
	if err == nil {
		e, err = ourevent.Read(r.Context(), r.Header, body)
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return job.Refuse(job.ErrTooLarge, "body", fmt.Sprintf("is larger than %d bytes; events of this service are small",
			maxEvent))
	}
	if err != nil {
		return api.BadRequest("body", "is not a CloudEvent of version 1.0 in binary or structured mode")
	}
	if err := f.Handle(r.Context(), *e); err != nil {
		// Its kind is hidden: a Broker would drop an event whose launch was "invalid" or "forbidden".
		return fmt.Errorf("%w: %v", job.ErrUnavailable, err) //nolint:errorlint // see above
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
