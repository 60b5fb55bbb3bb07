// Package function is the whole HTTP API as one Knative function, for func deploy; see func.yaml.
// Events need no Broker then: they go from submit to launch within the process. Jobs run as
// Kubernetes Jobs all the same.
package function

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go-job-orchestrator/functions/assembly"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/version"
)

// Function is what func's middleware calls: Start once, Ready and Alive now and then, Handle for
// each request, Stop at the end.
type Function struct {
	backend assembly.OpenBackend
	log     *slog.Logger
	opened  chan struct{} // closed when handler is there

	handler http.Handler
	env     *platform.Env
	stop    context.CancelFunc
}

// New returns the function. It is the one name that func looks for in this package.
func New() *Function {
	return &Function{
		backend: kubernetes.OpenInCluster, log: serve.NewLog(), opened: make(chan struct{}), stop: func() {},
	}
}

// Start opens everything with the settings that func's middleware collected. An error ends the
// process.
func (f *Function) Start(ctx context.Context, settings map[string]string) error {
	f.log.Info("starting", "", version.Get())
	f.env = platform.New(settings, f.log)
	gate, gateErr := serve.OpenGate(f.env)
	functions, err := assembly.Open(f.env, f.backend)
	if err := errors.Join(err, gateErr); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	// Between requests there may be no process. What is due then is done with the next one, or by
	// config/base/700-reap.yaml.
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
	// The middleware's server gives each request 30 s to be read and 30 s to be answered. An upload
	// and a follower take longer. What the handler gives its clients is counted anew with every piece.
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
