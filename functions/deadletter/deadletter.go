// Package deadletter receives the events that could not be delivered and writes each to the log, so
// that the operator can find out why. No job is lost, because the reaper launches the jobs whose
// events were lost.
package deadletter

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	cebinding "github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/settings"
)

// Function receives undeliverable events.
type Function struct{ log *slog.Logger }

// New returns the function with what env has.
func New(env *settings.Env) (*Function, error) { return &Function{log: env.Log}, nil }

// Mount routes the function.
func (f *Function) Mount(r *api.Router) { r.Handle(routes.LogDeadLetter, f.receive) }

// maxEvent bounds the body of an event.
const maxEvent = 1 << 20

// receive answers every event with 204. There is nowhere else to send it, and after a refusal the
// Broker would only send it again.
func (f *Function) receive(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	body, err := budget.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, maxEvent), r.ContentLength, maxEvent)
	if errors.Is(err, job.ErrUnavailable) { // for the moment
		return err
	}
	var e *event.Event
	if err == nil {
		e, err = cebinding.ToEvent(r.Context(), cehttp.NewMessage(r.Header, io.NopCloser(bytes.NewReader(body))))
	}
	if err != nil {
		f.log.ErrorContext(r.Context(), "undeliverable request is not a valid event", "error", err)
	} else {
		f.log.ErrorContext(r.Context(), "event undeliverable", attributes(e)...)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxText bounds how much of an attribute is logged. Knative puts the subscriber's whole answer
// into one.
const maxText = 1 << 10

// attributes returns the attributes that identify the event, and those in which Knative says who
// refused it and how.
func attributes(e *event.Event) []any {
	list := []any{"type", e.Type(), "id", e.ID(), "source", e.Source(), "job", e.Subject()}
	for _, name := range []string{"knativeerrordest", "knativeerrorcode", "knativeerrordata"} {
		if value, found := e.Extensions()[name]; found {
			list = append(list, name, value)
		}
	}
	for i, one := range list {
		if text, ok := one.(string); ok && len(text) > maxText {
			list[i] = strings.ToValidUTF8(text[:maxText], "") + "…"
		}
	}
	return list
}
