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
// delivery, and a cold start of the receiver would hold up the user.
const patience = 200 * time.Millisecond

// MaxSending is how many events an AsyncSink sends at a time, and how many a reaper does.
const MaxSending = 64

// The memory that events take until a slow sink has taken them. What an event takes besides its
// data is a goroutine's stack and its attributes. Beyond that events are left to the reaper.
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
	size := int64(len(e.Data())) + overhead
	if !s.room.TryAcquire(size) {
		return fmt.Errorf("send event: too many wait for the sink already: %w", job.ErrUnavailable)
	}
	answer := make(chan error, 1)
	s.wait.Go(func() {
		defer s.room.Release(size)
		answer <- s.deliver(context.WithoutCancel(ctx), e)
	})
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
