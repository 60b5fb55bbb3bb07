// Package event has the CloudEvents that the functions send to each other and to others. An event
// is never the record of anything. If one is lost, the reaper sends it again, and one that comes
// twice changes nothing.
package event

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
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

// Launch is the type of the event by which the reaper has the launcher make sure that a job runs.
// It says nothing of the job that others could learn, so it is not among the announced ones.
const Launch = "io.github.go-job-orchestrator.launch.v1"

// Sink takes events.
type Sink interface {
	// Send returns once the sink has taken the event. One that also has SendAndWait may return before.
	Send(ctx context.Context, e event.Event) error
}

// waiter is a Sink whose Send may return before the event is taken.
type waiter interface {
	SendAndWait(ctx context.Context, e event.Event) error
}

// SendAndWait returns the answer of a sink, however long it takes.
func SendAndWait(ctx context.Context, s Sink, e event.Event) error {
	if p, ok := s.(waiter); ok {
		return p.SendAndWait(ctx, e)
	}
	return s.Send(ctx, e)
}

// New returns an event of the given type about a job. Its ID follows from type and job, so that
// consumers can drop duplicates.
func New(kind, source string, id job.ID, now time.Time) event.Event {
	e := event.New()
	e.SetID(string(id) + "." + kind)
	e.SetType(kind)
	e.SetSource(source)
	e.SetSubject(string(id))
	e.SetTime(now)
	return e
}

// NewLaunch returns the event that has a job launched. It has another ID each time, so that nobody
// takes the second for the first.
func NewLaunch(source string, id job.ID, now time.Time) event.Event {
	e := New(Launch, source, id, now)
	e.SetID(e.ID() + "." + strconv.FormatInt(now.UnixMilli(), 10))
	return e
}

// JobID returns the job that an event is to have launched.
func JobID(e event.Event) (job.ID, error) {
	if e.Type() != Submitted && e.Type() != Launch {
		return "", fmt.Errorf("event of type %q: %w", e.Type(), job.ErrInvalid)
	}
	return job.ParseID(e.Subject())
}

// Read returns an event of version 1.0 that came over HTTP, in binary or structured mode.
func Read(ctx context.Context, h http.Header, body []byte) (*event.Event, error) {
	h, err := DecodeHeader(h)
	if err != nil {
		return nil, err
	}
	e, err := binding.ToEvent(ctx, cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(body))))
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	if e.SpecVersion() != event.CloudEventsVersionV1 {
		return nil, fmt.Errorf("event of version %q: %w", e.SpecVersion(), job.ErrInvalid)
	}
	return e, nil
}

// sendTimeout bounds one delivery to a sink over HTTP: the in-memory channel of Knative answers
// only after delivery, which may include a cold start, and the Broker's own tries of a consumer
// that fails.
const sendTimeout = time.Minute

type ceSink struct{ client client.Client }

var _ Sink = (*ceSink)(nil)

// NewHTTPSink returns a Sink that posts events to a URL.
func NewHTTPSink(url string) (Sink, error) {
	c := http.Client{Timeout: sendTimeout, Transport: encoding{newTransport()}}
	p, err := cehttp.New(cehttp.WithTarget(url), cehttp.WithClient(c))
	if err != nil {
		return nil, fmt.Errorf("event sink: %w", err)
	}
	ce, err := client.New(p)
	if err != nil {
		return nil, fmt.Errorf("event sink: %w", err)
	}
	return &ceSink{client: ce}, nil
}

// newTransport returns the default transport, with a connection kept for each event that is sent at
// the same time.
func newTransport() http.RoundTripper {
	t, isDefault := http.DefaultTransport.(*http.Transport)
	if !isDefault { // somebody has replaced it
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = MaxSending
	return t
}

func (s *ceSink) Send(ctx context.Context, e event.Event) error {
	if result := s.client.Send(ctx, e); !protocol.IsACK(result) {
		return fmt.Errorf("send event: %w", result)
	}
	return nil
}
