package event

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/audit"
)

// Audit is the type of the events that say who has changed what, or was refused. They are sent once:
// the log has every record, and the outbox has none.
const Audit = "io.github.go-job-orchestrator.audit.v1"

// AuditSink sends records of calls to a sink, in the background.
type AuditSink struct {
	sink   *AsyncSink
	source string
	log    *slog.Logger

	mu      sync.Mutex // held while an event begins to be sent
	drained bool
}

var _ audit.Sink = (*AuditSink)(nil)

// NewAuditSink returns an AuditSink before sink.
func NewAuditSink(sink Sink, source string, log *slog.Logger) *AuditSink {
	return &AuditSink{sink: NewAsyncSink(sink, log), source: source, log: log}
}

// Offer sends a record, unless too many wait for the sink already.
func (s *AuditSink) Offer(ctx context.Context, r audit.Record) {
	e := event.New()
	e.SetID(rand.Text())
	e.SetType(Audit)
	e.SetSource(s.source)
	e.SetTime(r.Time)
	for _, subject := range []string{r.Job, r.Template, r.Key} {
		if subject != "" {
			e.SetSubject(subject)
			break
		}
	}
	err := e.SetData(event.ApplicationJSON, r)
	if err == nil {
		err = s.start(ctx, e)
	}
	s.done(e, err)
}

// start begins to send an event.
func (s *AuditSink) start(ctx context.Context, e event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained { // requests are answered until the process ends, and events are no longer waited for
		return errDraining
	}
	return s.sink.start(ctx, e, func(err error) { s.done(e, err) })
}

func (s *AuditSink) done(e event.Event, err error) {
	if err != nil {
		s.log.Warn("audit event not sent; the log has the record", "event", e.ID(), "error", err)
	}
}

// Drain waits for the events that are being sent.
func (s *AuditSink) Drain() {
	s.mu.Lock()
	s.drained = true
	s.mu.Unlock()
	s.sink.Drain()
}
