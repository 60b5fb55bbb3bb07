// Command launch receives events and creates the Kubernetes Jobs of their jobs.
package main

import (
	"errors"
	"os"

	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/wakeup"
)

func main() {
	os.Exit(serve.Main(platform.With(open), "Makes Kubernetes Jobs of submitted jobs.", &kubernetes.Settings{},
		&kubernetes.ScheduleSettings{}, &profile.Settings{}, &wakeup.Settings{}))
}

func open(env *platform.Env) (*launch.Function, error) {
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, errors.Join(err, env.Check(&kubernetes.Settings{}))
	}
	b, err := kubernetes.OpenInCluster(env, events.Ledger)
	if err != nil {
		return nil, errors.Join(err, env.Check(&kubernetes.Settings{}))
	}
	next, err := wakeup.Open(env.Env)
	if err != nil {
		return nil, err
	}
	wake := func() {
		next.Wake()
		b.Expect()
	}
	wake() // this process starts because a job comes
	return launch.New(launch.Deps{Launcher: b.Launcher, Records: events.Ledger, Log: env.Log, Wake: wake}), nil
}
