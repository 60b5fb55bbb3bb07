// Package deadletter is where events end that nobody took: it writes each to the log, so that
// somebody can find out why. Nothing is lost by it, since the reaper launches what an event did
// not.
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
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
)

// Function receives undeliverable events.
type Function struct{ log *slog.Logger }

// New returns the function with what env has.
func New(env *platform.Env) (*Function, error) { return &Function{log: env.Log}, nil }

// Mount routes the function.
func (f *Function) Mount(r *api.Router) { r.Handle(routes.LogDeadLetter, f.receive) }

// maxEvent bounds the body of an event.
const maxEvent = 1 << 20

// receive answers 204 whatever came: there is nowhere else to send it, and a refusal would only be
// tried again.
func (f *Function) receive(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	body, err := budget.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, maxEvent), r.ContentLength, maxEvent)
	if errors.Is(err, job.ErrUnavailable) { // only now
		return err
	}
	var e *event.Event
	if err == nil {
		e, err = cebinding.ToEvent(r.Context(), cehttp.NewMessage(r.Header, io.NopCloser(bytes.NewReader(body))))
	}
	if err != nil {
		f.log.ErrorContext(r.Context(), "undeliverable, and no event that can be read", "error", err)
	} else {
		f.log.ErrorContext(r.Context(), "event undeliverable", attributes(e)...)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxText bounds what is logged of an attribute. Knative puts the answer of whoever refused the
// event in one.
const maxText = 1 << 10

// attributes are what tells which event it was, and, from Knative, who refused it and how.
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
