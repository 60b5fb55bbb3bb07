package executor

import (
	"context"
	"log/slog"

	"go-job-orchestrator/shared/spool"
)

// Shipper stores the growing log in segments; joblog.Shipper is one.
type Shipper interface {
	// Run ships until ctx ends.
	Run(ctx context.Context)
	// Finish ships what is left, once nobody writes any more.
	Finish(ctx context.Context) error
}

// shipping is a Shipper at work.
type shipping struct {
	shipper Shipper
	stop    context.CancelFunc
	done    chan struct{}
	log     *slog.Logger
}

func (t *Task) startShipper(ctx context.Context, l spool.Files) *shipping {
	s := &shipping{done: make(chan struct{}), log: t.Log.With("job", t.Index.JobID)}
	if t.Ship != nil {
		s.shipper = t.Ship(l)
	}
	ctx, s.stop = context.WithCancel(ctx)
	go func() {
		defer close(s.done)
		if s.shipper != nil {
			s.shipper.Run(ctx)
		}
	}()
	return s
}

// finish ships what is left. A segment that cannot be stored is no loss: the whole log is stored as
// well.
func (s *shipping) finish(ctx context.Context) {
	s.stop()
	<-s.done
	if s.shipper == nil {
		return
	}
	if err := s.shipper.Finish(ctx); err != nil {
		s.log.Warn("live log incomplete", "error", err)
	}
}
