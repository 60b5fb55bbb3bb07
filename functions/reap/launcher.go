package reap

import (
	"context"
	"errors"
	"sync/atomic"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/event"
)

// maxRefused is how many events a round tries to send to a sink that takes none. It may be only one
// consumer behind a Broker that takes none, and the next job's launch may not be for that one.
const maxRefused = 5

// launcher sends the events that have jobs launched, several at a time. Nobody waits for the
// reaper, so it waits for the sink, and a sink may take a second for each event.
type launcher struct {
	sink              event.Sink
	all               errgroup.Group
	launched, refused atomic.Int64
	errs              chan error // the first maxRefused
}

func newLauncher(s event.Sink) *launcher {
	l := &launcher{sink: s, errs: make(chan error, maxRefused)}
	l.all.SetLimit(event.MaxSending)
	return l
}

// begin sends an event as soon as fewer than the limit are being sent, and reports whether others
// may follow.
func (l *launcher) begin(ctx context.Context, e cloudevent.Event) bool {
	if l.isOver(ctx) {
		return false
	}
	l.all.Go(func() error {
		if l.isOver(ctx) { // since the caller began to wait
			return nil
		}
		err := event.SendAndWait(ctx, l.sink, e)
		switch {
		case err == nil:
			l.launched.Add(1)
		case l.refused.Add(1) <= maxRefused:
			l.errs <- err
		}
		return nil
	})
	return true
}

func (l *launcher) isOver(ctx context.Context) bool {
	return ctx.Err() != nil || l.refused.Load() >= maxRefused
}

// end waits for the events that are being sent, and adds their errors to the others.
func (l *launcher) end(others ...error) (launched int, err error) {
	_ = l.all.Wait() // no function returns an error
	close(l.errs)
	for err := range l.errs {
		others = append(others, err)
	}
	return int(l.launched.Load()), errors.Join(others...)
}
