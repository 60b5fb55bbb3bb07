// Package function is the whole HTTP API as one Knative function, for func deploy; see func.yaml.
// It needs no Broker, because events go from submit to launch within the process. Jobs run as
// Kubernetes Jobs, as elsewhere.
package function

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go-job-orchestrator/functions/one"
	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/telemetry"
	"go-job-orchestrator/shared/version"
)

// Function has the methods that func's middleware calls: Start once, Ready from time to time,
// Handle for each request, and Stop at the end.
type Function struct {
	deps   one.Deps
	log    *slog.Logger
	opened chan struct{} // closed when handler is set

	handler http.Handler
	env     *platform.Env
	stop    context.CancelFunc
}

// New returns the function. It is the only name that func looks for in this package.
func New() *Function {
	deps := one.InCluster()
	deps.Push = func(env *platform.Env, records *ledger.Ledger) (reap.Pusher, error) {
		return telemetry.Open(env, records)
	}
	return &Function{deps: deps, log: serve.NewLog(), opened: make(chan struct{}), stop: func() {}}
}

// Start opens everything with the settings that func's middleware collected. An error ends the
// process.
func (f *Function) Start(ctx context.Context, settings map[string]string) error {
	f.log.Info("starting", "", version.Get())
	f.env = platform.New(settings, f.log)
	gate, gateErr := serve.OpenGate(f.env.Env)
	functions, err := one.Open(f.env, f.deps)
	if err := errors.Join(err, gateErr); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	// Between requests there may be no process. Work that becomes due then is done with the next
	// request, or by config/base/700-reap.yaml.
	go functions.Reap(running)
	f.handler, f.stop = gate.Before(functions.Router), stop
	close(f.opened)
	return nil
}

// Handle answers a request.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) {
	select {
	case <-f.opened:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	// The middleware's server allows 30 s to read a request and 30 s to answer it. Uploads and
	// followers take longer. The gate's own deadlines start again with every part of a body or an
	// answer.
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		f.log.Warn("the server's time limits could not be removed; long uploads and followers will be cut off", "error", err)
	}
	f.handler.ServeHTTP(w, r)
}

// Ready reports whether the function can answer requests at once.
func (f *Function) Ready(context.Context) (bool, error) {
	select {
	case <-f.opened:
		return true, nil
	default:
		return false, nil
	}
}

// Stop ends what Start began. The server calls it after its requests have finished.
func (f *Function) Stop(context.Context) error {
	select {
	case <-f.opened:
		f.env.Drain() // while events are still received
		f.stop()
	default: // Start did not succeed
	}
	return nil
}
