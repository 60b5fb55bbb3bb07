package event

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// patience is how long a sender waits for its sink. Knative's in-memory channel answers only after delivery, and a
// cold start of the receiver would hold up the user.
const patience = 200 * time.Millisecond

// Background is a Sink that lets its callers go after a fifth of a second and goes on sending by itself.
type Background struct {
	sink Sink
	log  *slog.Logger
	wait sync.WaitGroup
}

var _ Sink = (*Background)(nil)

// NewBackground returns a Background before sink.
func NewBackground(sink Sink, log *slog.Logger) *Background { return &Background{sink: sink, log: log} }

// Send returns the sink's answer, or nil when it takes longer than a caller should wait.
func (b *Background) Send(ctx context.Context, e event.Event) error {
	answer := make(chan error, 1)
	b.wait.Go(func() { answer <- b.sink.Send(context.WithoutCancel(ctx), e) })
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
	}
	b.wait.Go(func() {
		if err := <-answer; err != nil {
			b.log.Warn("event not sent; the reaper will", "event", e.ID(), "error", err)
		}
	})
	return nil
}

// SendAndWait returns the sink's answer, however long it takes.
func (b *Background) SendAndWait(ctx context.Context, e event.Event) error {
	return b.sink.Send(ctx, e)
}

// Drain waits for the events that are still being sent.
func (b *Background) Drain() { b.wait.Wait() }
