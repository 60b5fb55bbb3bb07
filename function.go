// Package function is the whole HTTP API as one Knative function, for func deploy; see func.yaml. Events need no Broker then: they
// go from submit to launch within the process. Jobs run as Kubernetes Jobs all the same.
package function

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/functions/logs"
	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

// Function is what func's middleware calls: Start once, Ready and Alive now and then, Handle for each request, Stop at the end.
type Function struct {
	place  place
	log    *slog.Logger
	opened chan struct{} // closed when handler is there

	handler http.Handler
	env     *platform.Env
	stop    context.CancelFunc
}

// New returns the function. It is the one name that func looks for in this package.
func New() *Function {
	return &Function{place: kubernetes(), log: serve.NewLog(), opened: make(chan struct{}), stop: func() {}}
}

// Start opens everything with the settings that func's middleware collected. An error ends the process.
func (f *Function) Start(ctx context.Context, settings map[string]string) error {
	f.env = platform.New(settings, f.log)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	gate, gateErr := serve.OpenGate(f.env)
	router, err := f.open(running)
	if err := errors.Join(err, gateErr); err != nil {
		stop()
		return err
	}
	f.handler, f.stop = gate.Before(router), stop
	close(f.opened)
	return nil
}

// open mounts the functions, and has events launch jobs and the reaper look after them until running ends.
func (f *Function) open(running context.Context) (*api.Router, error) {
	bus, err := event.NewBus()
	if err != nil {
		return nil, err
	}
	background := event.NewBackground(bus, f.log)
	f.env.OnDrain(background.Drain)
	event.SetSink(f.env, background)

	var errs [10]error
	var functions [7]serve.Function
	functions[0], errs[0] = submit.Open(running, f.env)
	functions[1], errs[1] = f.place.status(running, f.env)
	functions[2], errs[2] = logs.Open(running, f.env)
	functions[3], errs[3] = artifacts.Open(running, f.env)
	functions[4], errs[4] = outputs.Open(running, f.env)
	functions[5], errs[5] = f.place.cancel(running, f.env)
	functions[6], errs[9] = agentapi.Open(running, f.env)
	launcher, err := f.place.launcher(running, f.env)
	errs[6] = err
	records, err := event.OpenLedger(f.env)
	errs[7] = err
	reaper, err := f.place.reap(running, f.env)
	errs[8] = err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	router := api.NewRouter(f.log)
	for _, one := range functions {
		one.Mount(router)
	}
	openapi.Mount(router)
	go func() {
		if err := bus.Receive(running, launch.New(launcher, records, f.log).Handle); err != nil {
			f.log.Error("event bus stopped; the reaper launches jobs", "error", err)
		}
	}()
	// Between requests there may be no process. What is due then is done with the next one, or by config/700-reap.yaml.
	go reaper.Every(running)
	return router, nil
}

// Handle answers a request.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) {
	select {
	case <-f.opened:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	// The middleware's server gives each request 30 s to be read and 30 s to be answered. An upload and a follower take longer. What the handler
	// gives its clients is counted anew with every piece.
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		f.log.Warn("the server's time limits could not be lifted; long uploads and followers are cut off", "error", err)
	}
	f.handler.ServeHTTP(w, r)
}

// Ready reports whether requests are answered at once.
func (f *Function) Ready(context.Context) (bool, error) {
	select {
	case <-f.opened:
		return true, nil
	default:
		return false, nil
	}
}

// Stop ends what Start began. The server has let its requests finish by then.
func (f *Function) Stop(context.Context) error {
	select {
	case <-f.opened:
		f.env.Drain() // while events are still received
		f.stop()
	default: // nothing was begun
	}
	return nil
}
