// Command reap runs one round of the reaper. In a cluster it also looks after Kubernetes Jobs.
package main

import (
	"os"

	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/telemetry"
)

func main() { os.Exit(reap.Main(open, &kubernetes.Settings{}, &telemetry.Settings{})) }

func open(env *platform.Env) (*reap.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, err
	}
	b, err := kubernetes.OpenWithoutLauncher(env, events.Ledger)
	if err != nil {
		return nil, err
	}
	d := reap.Deps{Env: env, Events: events, Observer: b.Observer, Stopper: b.Stopper, Publish: b.Publish}
	if push, err := telemetry.Open(env, events.Ledger); err != nil {
		return nil, err
	} else if push != nil {
		d.Push = push
	}
	return reap.New(d)
}
