// Package assembly wires the functions that one process serves together, over what runs their jobs.
// It is the same for every mode, so that no mode can differ from another by accident. A function
// that is a Knative Service of its own is wired by its command, which must not link the others.
package assembly

import (
	"context"
	"errors"
	"net/http"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/functions/cancel"
	"go-job-orchestrator/functions/intake"
	"go-job-orchestrator/functions/keys"
	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/functions/logs"
	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/metrics"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/page"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/serve"
)

// Settings returns a pointer to the settings of each function.
func Settings() []any {
	return append(intake.Settings(), &artifacts.Settings{}, &logs.Settings{}, &reap.Settings{},
		&agentapi.PackageSettings{})
}

// Check reads the settings of all functions, and names all faults at once.
func Check(env *platform.Env) error {
	var errs []error
	for _, settings := range Settings() {
		errs = append(errs, env.Load(settings))
	}
	return errors.Join(errs...)
}

// OpenBackend opens what runs the jobs whose records these are.
type OpenBackend func(env *platform.Env, records *ledger.Ledger) (backend.Backend, error)

// OpenPusher opens what sends numbers and spans of these records to a collector.
type OpenPusher func(env *platform.Env, records *ledger.Ledger) (reap.Pusher, error)

// Access says who may call.
type Access struct {
	Identify guard.Identify
	Keys     keys.Store
	Login    access.Login
	Browsers page.Sessions
	// Outside reports whether a request comes from outside of the cluster, from where agents do not
	// call; nil: agents call from everywhere.
	Outside func(*http.Request) bool
}

// Assembly is the functions of one process.
type Assembly struct {
	Router *api.Router
	access Access
	reaper *reap.Function
}

// Open wires all functions. Events that have a job launched do not leave the process: to send one
// is to call the launcher. A nil push is for processes whose reaper is elsewhere.
func Open(env *platform.Env, who Access, open OpenBackend, push OpenPusher) (*Assembly, error) {
	var launcher *launch.Function
	events, err := event.Open(env, event.Handler(func(ctx context.Context, e cloudevent.Event) error {
		return launcher.Handle(ctx, e)
	}))
	if err != nil {
		return nil, err
	}
	meters := newMeters(env)
	events.Ledger = events.Ledger.Observed(meters.jobs)
	b, err := open(env, events.Ledger)
	tokens, tokensErr := env.Keys()
	if err := errors.Join(Check(env), err, tokensErr); err != nil {
		return nil, err
	}
	launcher = launch.New(launch.Deps{Launcher: b.Launcher, Records: events.Ledger, Log: env.Log, Wake: b.Expect})
	a := &Assembly{access: who, Router: api.NewRouter(env.Log).Guarded(guard.New(guard.Deps{
		Identify: who.Identify, Tokens: tokens, Owners: events.Ledger, Now: env.Now, Outside: who.Outside,
	})).Audited(env.Audit()).Measured(meters.all.Requests)}
	if err := a.mount(env, events, b, meters); err != nil {
		return nil, err
	}
	if b.Expect != nil {
		b.Expect() // this process starts because of a request, mostly one for a job
	}
	d := reap.Deps{
		Env: env, Events: events, Observer: b.Observer, Stopper: b.Stopper, Queue: b.Queue, Publish: b.Publish,
		Meter: meters.records,
	}
	if push != nil {
		if d.Push, err = push(env, events.Ledger); err != nil {
			return nil, err
		}
	}
	a.reaper, err = reap.New(d)
	return a, err
}

// mount opens each function that answers requests, and routes it.
func (a *Assembly) mount(env *platform.Env, events *event.Events, b backend.Backend, m *meters) error {
	var functions [8]serve.Function
	var errs [6]error
	functions[0], errs[0] = intake.Open(admission.Deps{
		Env: env, Events: events, Backend: b.Admission, Secrets: b.Secrets, Profiles: b.Profiles,
		Accepted: m.jobs.Submitted, Wake: b.Expect,
	})
	functions[1], errs[1] = status.New(status.Deps{
		Env: env, Observer: b.Observer, Queue: b.Queue, Runtimes: b.Runtimes, Profiles: b.Profiles,
		Login: a.access.Login, Secrets: b.Secrets,
	})
	functions[2], errs[2] = logs.New(env)
	functions[3], errs[3] = artifacts.New(artifacts.Deps{Env: env, Ledger: events.Ledger})
	functions[4], errs[4] = outputs.New(env)
	functions[5], errs[5] = agentapi.New(agentapi.Deps{Env: env, Ledger: events.Ledger})
	functions[6] = cancel.New(cancel.Deps{Env: env, Ledger: events.Ledger, Stopper: b.Stopper})
	functions[7] = keys.New(keys.Deps{Store: a.access.Keys, Now: env.Now, Random: env.Random, Log: env.Log})
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	for _, f := range functions {
		f.Mount(a.Router)
	}
	openapi.Mount(a.Router)
	page.Mount(a.Router, a.access.Browsers)
	m.all.Mount(a.Router)
	return nil
}

// meters count what the process does.
type meters struct {
	all     *metrics.Registry
	jobs    *metrics.Jobs
	records *metrics.Records
}

func newMeters(env *platform.Env) *meters {
	all := metrics.New()
	var names []string
	for _, r := range runtimes.All() {
		names = append(names, r.Name)
	}
	return &meters{all: all, jobs: metrics.NewJobs(all, names), records: metrics.NewRecords(all, env.Now)}
}

// Reap looks after the jobs and removes what is past its time, until ctx ends.
func (a *Assembly) Reap(ctx context.Context) { a.reaper.Every(ctx) }
