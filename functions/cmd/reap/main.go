// Command reap runs one round of the reaper. In a cluster it also looks after Kubernetes Jobs.
package main

import (
	"os"

	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
)

func main() { os.Exit(reap.Main(open, &kubernetes.Settings{}, &kubernetes.ScheduleSettings{})) }

func open(env *platform.Env) (*reap.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, err
	}
	b, err := kubernetes.OpenWithoutLauncher(env, events.Ledger)
	if err != nil {
		return nil, err
	}
	schedule, err := kubernetes.OpenSchedule(env)
	if err != nil {
		return nil, err
	}
	return reap.New(reap.Deps{
		Env: env, Events: events, Observer: b.Observer, Stopper: b.Stopper, Publish: b.Publish, Pacer: schedule,
	})
}
