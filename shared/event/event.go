// Package event is the CloudEvents by which the functions nudge each other. An event never is the record of
// anything: one that is lost is sent again by the reaper, and one that comes twice changes nothing.
package event

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"go-job-orchestrator/shared/job"
)

// The types of our events are typePrefix, what became of the job, and typeVersion.
const (
	typePrefix  = "io.github.go-job-orchestrator.job."
	typeVersion = ".v1"
)

// Submitted says that a job was accepted and is to be launched.
const Submitted = typePrefix + "submitted" + typeVersion

// Sink takes events.
type Sink interface {
	// Send returns once the sink has taken the event.
	Send(ctx context.Context, e event.Event) error
}

// New returns an event of the given type about a job. Its ID follows from type and job, so that consumers
// can drop duplicates.
func New(kind, source string, id job.ID, now time.Time) event.Event {
	e := event.New()
	e.SetID(string(id) + "." + kind)
	e.SetType(kind)
	e.SetSource(source)
	e.SetSubject(string(id))
	e.SetTime(now)
	return e
}

// JobID returns the job that an event of ours is about.
func JobID(e event.Event) (job.ID, error) {
	if e.Type() != Submitted {
		return "", fmt.Errorf("event of type %q: %w", e.Type(), job.ErrInvalid)
	}
	return job.ParseID(e.Subject())
}

// sendTimeout bounds one delivery to a sink over HTTP: the in-memory channel of Knative answers only after delivery, which
// may include a cold start, and the Broker's own tries of a consumer that fails.
const sendTimeout = time.Minute

type ceSink struct{ client client.Client }

var _ Sink = (*ceSink)(nil)

// NewHTTPSink returns a Sink that posts events to a URL.
func NewHTTPSink(url string) (Sink, error) {
	p, err := cehttp.New(cehttp.WithTarget(url), cehttp.WithClient(http.Client{Timeout: sendTimeout}))
	if err != nil {
		return nil, fmt.Errorf("event sink: %w", err)
	}
	c, err := client.New(p)
	if err != nil {
		return nil, fmt.Errorf("event sink: %w", err)
	}
	return &ceSink{client: c}, nil
}

func (s *ceSink) Send(ctx context.Context, e event.Event) error {
	if result := s.client.Send(ctx, e); !protocol.IsACK(result) {
		return fmt.Errorf("send event: %w", result)
	}
	return nil
}
