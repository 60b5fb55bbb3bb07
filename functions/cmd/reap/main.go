// Command reap runs one round of the reaper. In a cluster it also looks after Kubernetes Jobs.
package main

import (
	"context"
	"errors"
	"os"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/telemetry"
)

func main() {
	os.Exit(reap.Main(open, &kubernetes.Settings{}, &kubernetes.ScheduleSettings{}, &profile.Settings{},
		&telemetry.Settings{}))
}

func open(env *platform.Env) (*reap.Function, error) {
	var s reap.Settings
	if err := env.Load(&s); err != nil {
		return nil, err
	}
	events, b, err := openEvents(env, s.Launches)
	if err != nil {
		return nil, err
	}
	schedule, err := kubernetes.OpenSchedule(env)
	if err != nil {
		return nil, err
	}
	push, err := telemetry.Open(env, events.Ledger)
	if err != nil {
		return nil, err
	}
	return reap.New(reap.Deps{
		Env: env, Events: events, Observer: b.Observer, Stopper: b.Stopper, Publish: b.Publish, Push: push,
		Pacer: schedule,
	})
}

// openEvents opens where the reaper sends what has a job launched: to K_SINK, or to a launcher in
// this process.
func openEvents(env *platform.Env, launches bool) (*event.Events, backend.Backend, error) {
	if !launches {
		events, err := event.Open(env, nil)
		if err != nil {
			return nil, backend.Backend{}, err
		}
		b, err := kubernetes.OpenWithoutLauncher(env, events.Ledger)
		return events, b, err
	}
	var launcher *launch.Function
	events, err := event.Open(env, event.Handler(func(ctx context.Context, e cloudevent.Event) error {
		return launcher.Handle(ctx, e)
	}))
	if err != nil {
		return nil, backend.Backend{}, errors.Join(err, env.Check(&kubernetes.Settings{}))
	}
	b, err := kubernetes.OpenInCluster(env, events.Ledger)
	launcher = launch.New(launch.Deps{Launcher: b.Launcher, Records: events.Ledger, Log: env.Log})
	return events, b, err
}
