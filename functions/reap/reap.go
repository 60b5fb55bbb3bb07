// Package reap removes what is past its time, and completes what an event or a crash left undone.
package reap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/command"
	"go-job-orchestrator/shared/dependencies"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/treecache"
)

// Settings are reap's own.
type Settings struct {
	Interval  time.Duration `env:"REAP_INTERVAL" envDefault:"10s"`
	UploadAge time.Duration `env:"UPLOAD_TIMEOUT" envDefault:"1h"`
	// StartTimeout is how long a job may wait for something that keeps it from starting, such as an
	// image that cannot be pulled.
	StartTimeout time.Duration `env:"START_TIMEOUT" envDefault:"15m"`
	// Launches has cmd/reap launch jobs that were not launched, where there is no Broker to have launch
	// do it.
	Launches bool `env:"REAP_LAUNCHES" envDefault:"false"`
}

// resendAfter is how long an event may take to arrive before the reaper sends one for it.
const resendAfter = 30 * time.Second

// relaunchAfter is how long a job's pod may be starting before its launch is repeated, which
// changes nothing unless the launcher died between the Job and the Secret that its pod waits for.
const relaunchAfter = time.Minute

// batch is how many active jobs are taken into memory at a time.
const batch = 500

// Deps is what reap works with.
type Deps struct {
	Env      *platform.Env
	Events   *event.Events
	Observer backend.Observer // nil: the records are all there is
	Stopper  backend.Stopper
	Queue    backend.Queue  // nil: it is elsewhere
	Publish  secret.Catalog // the operator's secrets, whose names are published; nil: none
	Meter    Meter          // nil: nobody counts
	Push     Pusher         // nil: no collector is configured
	Pacer    Pacer          // nil: rounds are as often as they are
}

// Pacer says how often there are rounds; kubernetes.Schedule is one.
type Pacer interface {
	// Begin is called before a round. What it returns is called after it, with whether for five minutes
	// there is nothing to do.
	Begin(ctx context.Context) (end func(ctx context.Context, idle bool) error, err error)
}

// Meter is told of rounds and of what the records say; metrics.Records is one.
type Meter interface {
	// Reaped is told of a round without an error.
	Reaped()
	// Due reports whether the records are to be counted.
	Due() bool
	// Counted has the bytes of cached packages, those that the storage has free if that is known, and
	// how long counting took.
	Counted(c job.Census, cached int64, free *int64, took time.Duration)
}

// Function reaps.
type Function struct {
	Deps
	store    *store.Store
	source   string
	settings Settings
	secrets  *secret.Published // nil: nothing is published
	packages *treecache.Cache
	swept    atomic.Int64 // when packages were last looked at, in nanoseconds
	reaped   atomic.Pointer[time.Time]
	log      *slog.Logger
}

// New returns the function.
func New(d Deps) (*Function, error) {
	f := &Function{Deps: d, log: d.Env.Log}
	var errs [5]error
	var packages dependencies.Settings
	errs[4] = d.Env.Load(&packages)
	errs[0] = d.Env.Load(&f.settings)
	common, err := d.Env.Common()
	errs[1] = err
	f.store, errs[2] = d.Env.Store()
	if d.Events.Sink == nil {
		errs[3] = event.ErrNoSink
	}
	var keysErr error
	if d.Publish != nil {
		var keys token.Keys
		keys, keysErr = d.Env.Keys()
		f.secrets = secret.NewPublished(f.store, keys)
	}
	if err := errors.Join(append(errs[:], keysErr)...); err != nil {
		return nil, err
	}
	f.source = common.BaseURL
	f.packages = &treecache.Cache{Store: f.store, Limit: int64(packages.Cache), Now: d.Env.Now, Log: d.Env.Log}
	return f, nil
}

// Check finds settings with which nothing would be reaped, or too much.
func (s *Settings) Check() error {
	return settings.CheckDurations(
		settings.Duration{Name: "REAP_INTERVAL", Value: s.Interval, Min: 10 * time.Millisecond, Max: 24 * time.Hour},
		settings.Upload(s.UploadAge),
		settings.Duration{Name: "START_TIMEOUT", Value: s.StartTimeout, Min: time.Second, Max: 30 * 24 * time.Hour},
	)
}

// idleFor is what a round has to see ahead for the next one to come late: the five minutes until
// then, and one for it to start.
const idleFor = 6 * time.Minute

// Paced makes one round, and says how soon the next one is to come. A schedule that cannot be changed
// does not keep the round from being made.
func (f *Function) Paced(ctx context.Context) error {
	if f.Pacer == nil {
		_, err := f.Once(ctx)
		f.push(ctx)
		return err
	}
	end, paceErr := f.Pacer.Begin(ctx)
	_, err := f.Once(ctx)
	f.push(ctx)
	if paceErr == nil {
		idle := false
		if err == nil {
			idle, err = f.Events.Ledger.Idle(ctx, f.Env.Now().Add(idleFor))
		}
		paceErr = end(ctx, idle)
	}
	if paceErr != nil {
		f.log.WarnContext(ctx, "the reaper's schedule stays as it is; the next round tries again", "error", paceErr)
	}
	return err
}

// Result counts what one round did.
type Result struct{ Removed, Swept, Relaunched, Announced int }

// Once makes one round. Several at once do no harm.
func (f *Function) Once(ctx context.Context) (Result, error) {
	var r Result
	var removeErr, uploadErr, keyErr, activeErr error
	r.Removed, removeErr = f.Events.Ledger.RemoveExpired(ctx)
	// An upload ends by UPLOAD_TIMEOUT; twice that is long enough for any that still runs.
	r.Swept, uploadErr = f.Events.Ledger.SweepUploads(ctx, 2*f.settings.UploadAge)
	_, keyErr = f.Events.Ledger.SweepKeys(ctx)
	_, templateErr := template.NewStore(f.store, f.Env.Now).Sweep(ctx, 2*f.settings.UploadAge)
	_, chainErr := f.Events.Ledger.SweepChains(ctx)
	linkErr := f.Events.Ledger.SweepLinks(ctx)
	_, ownerErr := f.Events.Ledger.SweepOwners(ctx, 2*f.settings.UploadAge)
	packageErr := f.sweepPackages(ctx)
	tempErr := f.store.Sweep(ctx, 2*f.settings.UploadAge)
	f.publish(ctx)
	r.Relaunched, activeErr = f.active(ctx)
	var outboxErr error
	r.Announced, outboxErr = f.Events.Ledger.SweepOutbox(ctx, resendAfter, event.MaxSending, func(n job.Notice) error {
		return event.SendAndWait(ctx, f.Events.Sink, event.Of(f.source, n))
	})
	if r != (Result{}) {
		f.log.Info("reaped", "removed", r.Removed, "swept", r.Swept, "relaunched", r.Relaunched, "announced", r.Announced)
	}
	err := errors.Join(removeErr, uploadErr, keyErr, templateErr, chainErr, linkErr, ownerErr, tempErr, activeErr,
		outboxErr, packageErr)
	if err == nil {
		f.noteReaped()
	}
	if f.Meter != nil {
		f.count(ctx)
		if err == nil {
			f.Meter.Reaped()
		}
	}
	return r, err
}

// count counts the records if somebody reads the numbers. If it fails the last numbers stay, and say
// of when they are.
func (f *Function) count(ctx context.Context) {
	if !f.Meter.Due() {
		return
	}
	begun := time.Now()
	census, err := f.Events.Ledger.Count(ctx)
	cached, cacheErr := f.packages.Size(ctx)
	if err := errors.Join(err, cacheErr); err != nil {
		f.log.WarnContext(ctx, "records not counted for the metrics; the next round tries again", "error", err)
		return
	}
	var free *int64
	if bytes, known := f.store.Free(); known {
		free = &bytes
	}
	f.Meter.Counted(census, cached, free, time.Since(begun))
}

// sweepEvery is how often one process looks at all cached packages: jobs that add some do so as well.
const sweepEvery = 10 * time.Minute

func (f *Function) sweepPackages(ctx context.Context) error {
	now, last := f.Env.Now().UnixNano(), f.swept.Load()
	if last != 0 && now-last < int64(sweepEvery) || !f.swept.CompareAndSwap(last, now) {
		return nil
	}
	_, err := f.packages.Sweep(ctx)
	return err
}

// publish makes the names of the operator's secrets known to the functions that may not ask
// Kubernetes for them. If that fails the names of before stay, and the round goes on.
func (f *Function) publish(ctx context.Context) {
	if f.secrets == nil {
		return
	}
	if err := f.secrets.Publish(ctx, f.Publish); err != nil {
		f.log.WarnContext(ctx, "names of the operator's secrets not published; the next round tries again", "error", err)
	}
}

// Every makes a round at each interval until ctx ends.
func (f *Function) Every(ctx context.Context) {
	var pushing sync.WaitGroup
	defer pushing.Wait()
	pushing.Go(func() { f.pushEvery(ctx) })
	f.each(ctx, func() {
		if _, err := f.Once(ctx); err != nil && ctx.Err() == nil {
			f.log.Error("reaping failed; the next round tries again", "error", err)
		}
	})
}

// each calls do at each interval until ctx ends.
func (f *Function) each(ctx context.Context, do func()) {
	tick := time.NewTicker(f.settings.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// active looks at the jobs that are not over. One whose records cannot be read must not keep the
// others from being looked at.
func (f *Function) active(ctx context.Context) (relaunched int, err error) {
	out := newLauncher(f.Events.Sink)
	var failed error // the first of them
	for after := job.ID(""); ; {
		ids, err := f.Events.Ledger.Active(ctx, after, batch)
		if err != nil {
			return out.end(failed, err)
		}
		for _, id := range ids {
			after = id
			lost, err := f.tend(ctx, id)
			switch {
			case ctx.Err() != nil:
				return out.end(failed, ctx.Err())
			case err != nil:
				f.log.Error("job not looked after; the next round tries again", "job", id, "error", err)
				if failed == nil {
					failed = err
				}
			}
			if lost && !out.begin(ctx, event.NewLaunch(f.source, id, f.Env.Now())) {
				return out.end(failed)
			}
		}
		if len(ids) < batch {
			return out.end(failed)
		}
	}
}

// tend completes the records of a job that is over, and reports whether a job that is not over was
// not launched.
func (f *Function) tend(ctx context.Context, id job.ID) (lost bool, err error) {
	over, err := f.Events.Ledger.Settle(ctx, id, 2*f.settings.UploadAge)
	if err != nil || over {
		return false, err
	}
	return f.lost(ctx, id)
}

// lost reports whether a job was not launched.
func (f *Function) lost(ctx context.Context, id job.ID) (bool, error) {
	if f.Observer != nil {
		return f.observe(ctx, id)
	}
	if f.Env.Now().Sub(id.Created()) < resendAfter || f.Queue != nil && f.Queue.Has(id) {
		return false, nil
	}
	attempts, err := f.Events.Ledger.Attempts(ctx, id)
	return len(attempts) == 0, err
}

// observe looks after a job that runs elsewhere, and reports whether it was not launched, or not to
// the end.
func (f *Function) observe(ctx context.Context, id job.ID) (lost bool, err error) {
	cancelled, err := f.Events.Ledger.CancelRequested(ctx, id)
	if err != nil {
		return false, err
	}
	if cancelled { // the process that cancelled it may have died before this
		if err := f.Stopper.Stop(ctx, id, false); err != nil {
			return false, err
		}
	}
	o, err := f.Observer.RecordEnd(ctx, id)
	switch {
	case errors.Is(err, job.ErrNotFound), err == nil && o.Over:
		return false, nil
	case err != nil:
		return false, err
	case o.Stuck && f.Env.Now().Sub(o.Since) > f.settings.StartTimeout:
		o.Message = fmt.Sprintf("could not start within %s (START_TIMEOUT): %s", f.settings.StartTimeout, o.Message)
		return false, f.Observer.GiveUp(ctx, id, o)
	}
	if o.Reason == job.ReasonStarting && f.Env.Now().Sub(o.Since) > relaunchAfter {
		return true, nil
	}
	return o.Lost && f.Env.Now().Sub(id.Created()) >= resendAfter, nil
}

// Main is the command: one round. It returns the exit code.
func Main(open func(*platform.Env) (*Function, error), own ...any) int {
	usage := command.Usage{
		Summary:  "Makes one round of reaping: removes what is past its time, and completes what was left undone.",
		Settings: append(own, &settings.Common{}, &Settings{}, &dependencies.Settings{}),
	}
	return serve.Run(usage, func(ctx context.Context, env *settings.Env) error {
		defer env.Drain()
		f, err := open(platform.Over(env))
		if err != nil {
			return err
		}
		return f.Paced(ctx)
	})
}
