package reap

import (
	"context"
	"errors"
	"sync"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/event"
)

// maxRefused is how many events a round tries to send to a sink that takes none. It may be only one
// consumer behind a Broker that takes none, and the next job's launch not be that one.
const maxRefused = 5

// sender sends the events of several jobs at a time, those of one job in order. Nobody waits for
// the reaper, so it waits for the sink, and a sink may take a second for each event.
type sender struct {
	sink   event.Sink
	places chan struct{}
	all    sync.WaitGroup

	mu                  sync.Mutex
	launches, announced int
	refused             int
	failed              []error
}

func newSender(s event.Sink) *sender {
	return &sender{sink: s, places: make(chan struct{}, event.MaxSending)}
}

// begin sends the events of a job once there is a place, and reports whether those of others may
// follow.
func (s *sender) begin(ctx context.Context, events []cloudevent.Event) bool {
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if s.isRefused() {
		<-s.places
		return false
	}
	s.all.Go(func() {
		defer func() { <-s.places }()
		for _, e := range events {
			if !s.note(e, event.SendAndWait(ctx, s.sink, e)) {
				return
			}
		}
	})
	return true
}

func (s *sender) isRefused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused >= maxRefused
}

// note counts an event, and reports whether it was taken.
func (s *sender) note(e cloudevent.Event, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		if s.refused++; s.refused <= maxRefused {
			s.failed = append(s.failed, err)
		}
	case e.Type() == event.Launch:
		s.launches++
	default:
		s.announced++
	}
	return err == nil
}

// end waits for what has begun, and adds the errors of others to its own.
func (s *sender) end(others ...error) (launches, announced int, err error) {
	s.all.Wait()
	return s.launches, s.announced, errors.Join(append(others, s.failed...)...)
}
