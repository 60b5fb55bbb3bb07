package event

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol/gochan"

	"go-job-orchestrator/shared/job"
)

// Bus is a Sink whose events are received in this process.
type Bus struct {
	sink ceSink

	mu      sync.Mutex
	next    uint64
	waiting map[string]chan<- error
	closed  chan struct{}
}

var _ Sink = (*Bus)(nil)

// delivery is the extension by which an event's sender is found again.
const delivery = "delivery"

// NewBus returns a Bus over the CloudEvents SDK's channel transport.
func NewBus() (*Bus, error) {
	// One receiving goroutine keeps events in order; handlers only queue what they are told.
	c, err := client.New(gochan.New(), client.WithPollGoroutines(1), client.WithBlockingCallback())
	if err != nil {
		return nil, fmt.Errorf("event bus: %w", err)
	}
	return &Bus{sink: ceSink{client: c}, waiting: map[string]chan<- error{}, closed: make(chan struct{})}, nil
}

// Send returns what the receiver made of the event. The channel by itself would answer before anybody has seen it.
func (b *Bus) Send(ctx context.Context, e event.Event) error {
	answer := make(chan error, 1)
	b.mu.Lock()
	b.next++
	number := strconv.FormatUint(b.next, 10)
	b.waiting[number] = answer
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiting, number)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-b.closed:
			cancel() // the channel may be full, with nobody left to empty it
		case <-ctx.Done():
		}
	}()
	e = e.Clone()
	e.SetExtension(delivery, number)
	if err := b.sink.Send(ctx, e); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("send event: %w", errors.Join(job.ErrUnavailable, ctx.Err()))
	}
}

// Receive gives each event to handle, one after the other, until ctx ends. It can be called once.
func (b *Bus) Receive(ctx context.Context, handle func(context.Context, event.Event) error) error {
	defer close(b.closed)
	err := b.sink.client.StartReceiver(ctx, func(ctx context.Context, e event.Event) {
		number, _ := e.Extensions()[delivery].(string)
		e.SetExtension(delivery, nil)
		err := handle(ctx, e)
		b.mu.Lock()
		defer b.mu.Unlock()
		if answer, waits := b.waiting[number]; waits {
			answer <- err
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("event bus: %w", err)
	}
	return nil
}
