package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/semaphore"

	"go-job-orchestrator/shared/job"
)

// patience is how long a sender waits for its sink. Knative's in-memory channel answers only after
// delivery, so a cold start of the receiver would delay the user's answer.
const patience = 200 * time.Millisecond

// MaxSending is how many events an AsyncSink sends at a time, and how many a reaper does.
const MaxSending = 64

// maxPending is the memory that events may use until a slow sink has taken them. Events that do not
// fit are not sent; the reaper sends them later. overhead is what an event uses beside its data: its
// attributes, and the stack of a goroutine.
const (
	maxPending = 16 << 20
	overhead   = 4 << 10
)

// AsyncSink is a Sink that returns to its callers after a fifth of a second at most and goes on
// sending in the background.
type AsyncSink struct {
	sink     Sink
	log      *slog.Logger
	wait     sync.WaitGroup
	room     *semaphore.Weighted
	sending  chan struct{}   // has a value for each event that is being sent
	draining context.Context //nolint:containedctx // it ends what is being sent when the process drains
	drain    context.CancelFunc
}

var _ Sink = (*AsyncSink)(nil)

// NewAsyncSink returns an AsyncSink before sink.
func NewAsyncSink(sink Sink, log *slog.Logger) *AsyncSink {
	s := &AsyncSink{
		sink: sink, log: log, room: semaphore.NewWeighted(maxPending), sending: make(chan struct{}, MaxSending),
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	return s
}

// Send returns the sink's answer, or nil when it takes longer than a caller should wait.
func (s *AsyncSink) Send(ctx context.Context, e event.Event) error {
	answer := make(chan error, 1)
	if err := s.start(ctx, e, func(err error) { answer <- err }); err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
	}
	s.wait.Go(func() {
		if err := <-answer; err != nil {
			s.log.Warn("event not sent; the reaper will", "event", e.ID(), "error", err)
		}
	})
	return nil
}

// start has an event sent in the background, and done called with the sink's answer. It does not
// wait. The error is for an event that there is no room for.
func (s *AsyncSink) start(ctx context.Context, e event.Event, done func(error)) error {
	size := int64(len(e.Data())) + overhead
	if !s.room.TryAcquire(size) {
		return fmt.Errorf("send event: too many wait for the sink already: %w", job.ErrUnavailable)
	}
	s.wait.Go(func() {
		defer s.room.Release(size)
		done(s.deliver(context.WithoutCancel(ctx), e))
	})
	return nil
}

// errDraining is why an event is not sent that was still waiting for its turn.
var errDraining = errors.New("the process ends before the event's turn")

// deliver sends an event when it is its turn.
func (s *AsyncSink) deliver(ctx context.Context, e event.Event) error {
	select {
	case s.sending <- struct{}{}:
	default:
		select {
		case s.sending <- struct{}{}:
		case <-s.draining.Done():
			return errDraining
		}
	}
	defer func() { <-s.sending }()
	return s.sink.Send(ctx, e)
}

// SendAndWait returns the sink's answer, however long it takes. Its callers bound how many
// events are sent at a time.
func (s *AsyncSink) SendAndWait(ctx context.Context, e event.Event) error {
	return SendAndWait(ctx, s.sink, e)
}

// Drain waits for the events that are being sent. Those that wait for their turn are left to the
// reaper: a slow sink must not keep the process from ending.
func (s *AsyncSink) Drain() {
	s.drain()
	s.wait.Wait()
}
