// Package reap removes what is past its time, and completes what an event or a crash left undone.
package reap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/store"
)

// Settings are reap's own.
type Settings struct {
	Interval  time.Duration `env:"REAP_INTERVAL" envDefault:"10s"`
	UploadAge time.Duration `env:"UPLOAD_TIMEOUT" envDefault:"1h"`
}

// nudgeAfter is how long a job may wait for its event to arrive before it is sent again.
const nudgeAfter = 30 * time.Second

// batch is how many active jobs are taken into memory at a time.
const batch = 500

// Function reaps.
type Function struct {
	ledger   *ledger.Ledger
	store    *store.Store
	sink     event.Sink
	source   string
	settings Settings
	now      func() time.Time
	log      *slog.Logger
}

// Open returns the function with what env has.
func Open(ctx context.Context, env *platform.Env) (*Function, error) {
	f := &Function{now: env.Now, log: env.Log}
	var errs [6]error
	if errs[0] = env.Load(&f.settings); errs[0] == nil {
		errs[5] = f.settings.check()
	}
	f.ledger, errs[1] = env.Ledger()
	f.sink, errs[2] = env.Sink(ctx)
	common, err := env.Common()
	errs[3] = err
	f.store, errs[4] = env.Store()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	f.source = common.BaseURL
	return f, nil
}

func (s *Settings) check() error {
	var errs []error
	for name, d := range map[string]time.Duration{"REAP_INTERVAL": s.Interval, "UPLOAD_TIMEOUT": s.UploadAge} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s: %s is not a time span to wait; set at least 1s", name, d))
		}
	}
	return errors.Join(errs...)
}

// Result counts what one round did.
type Result struct{ Removed, Swept, Nudged int }

// Once makes one round. Several at once do no harm.
func (f *Function) Once(ctx context.Context) (Result, error) {
	var r Result
	var removeErr, uploadErr, keyErr, activeErr error
	r.Removed, removeErr = f.ledger.RemoveExpired(ctx)
	// An upload ends by UPLOAD_TIMEOUT; twice that is long enough for any that still runs.
	r.Swept, uploadErr = f.ledger.SweepUploads(ctx, 2*f.settings.UploadAge)
	_, keyErr = f.ledger.SweepKeys(ctx)
	tempErr := f.store.Sweep(2 * f.settings.UploadAge)
	r.Nudged, activeErr = f.active(ctx)
	if r != (Result{}) {
		f.log.Info("reaped", "removed", r.Removed, "swept", r.Swept, "nudged", r.Nudged)
	}
	return r, errors.Join(removeErr, uploadErr, keyErr, tempErr, activeErr)
}

// Every makes a round at each interval until ctx ends.
func (f *Function) Every(ctx context.Context) {
	tick := time.NewTicker(f.settings.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := f.Once(ctx); err != nil && ctx.Err() == nil {
			f.log.Error("reaping failed; the next round tries again", "error", err)
		}
	}
}

// active looks at the jobs that are not over. One whose records cannot be read must not keep the others from being
// looked at; a sink that takes nothing would not take the next event either.
func (f *Function) active(ctx context.Context) (nudged int, err error) {
	var failed error // the first of them
	for after := job.ID(""); ; {
		ids, err := f.ledger.Active(ctx, after, batch)
		if err != nil {
			return nudged, errors.Join(failed, err)
		}
		for _, id := range ids {
			after = id
			lost, err := f.tend(ctx, id)
			switch {
			case ctx.Err() != nil:
				return nudged, errors.Join(failed, ctx.Err())
			case err != nil:
				f.log.Error("job not looked after; the next round tries again", "job", id, "error", err)
				if failed == nil {
					failed = err
				}
			case lost:
				if err := f.sink.Send(ctx, event.New(event.Submitted, f.source, id, f.now())); err != nil {
					return nudged, errors.Join(failed, err)
				}
				nudged++
			}
		}
		if len(ids) < batch {
			return nudged, failed
		}
	}
}

// tend completes the records of a job that is over, and reports whether it is one that was never launched, so that its
// event is to be sent again.
func (f *Function) tend(ctx context.Context, id job.ID) (lost bool, err error) {
	over, err := f.ledger.Settle(ctx, id, 2*f.settings.UploadAge)
	if err != nil || over || f.now().Sub(id.Created()) < nudgeAfter {
		return false, err
	}
	attempts, err := f.ledger.Attempts(ctx, id)
	return len(attempts) == 0, err
}

// Main is the command: one round. It returns the exit code.
func Main() int {
	return serve.Run(func(ctx context.Context, env *platform.Env) error {
		defer env.Drain()
		f, err := Open(ctx, env)
		if err != nil {
			return err
		}
		_, err = f.Once(ctx)
		return err
	})
}
