// Command cancel serves the function of that name. In a cluster it also deletes Kubernetes Jobs.
package main

import (
	"errors"
	"os"

	"go-job-orchestrator/functions/cancel"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/guard/behind"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(behind.Gateway(open), "Cancels and removes jobs.", &kubernetes.Settings{}))
}

func open(env *platform.Env) (*cancel.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, errors.Join(err, env.Check())
	}
	b, err := kubernetes.OpenWithoutLauncher(env, events.Ledger)
	if err != nil {
		return nil, errors.Join(err, env.Check())
	}
	return cancel.New(cancel.Deps{Env: env, Ledger: events.Ledger, Stopper: b.Stopper}), nil
}
