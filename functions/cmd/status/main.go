// Command status serves the function of that name. In a cluster it also asks Kubernetes.
package main

import (
	"errors"
	"os"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/guard/behind"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(behind.Gateway(open), "Shows and lists jobs.", &kubernetes.Settings{},
		&access.LoginSettings{}, &profile.Settings{}))
}

func open(env *platform.Env) (*status.Function, error) {
	records, err := env.Ledger()
	if err != nil {
		return nil, errors.Join(err, env.Check())
	}
	b, err := kubernetes.OpenWithoutLauncher(env, records)
	if err != nil {
		return nil, errors.Join(err, env.Check())
	}
	var login access.LoginSettings
	profiles, err := profile.Open(env)
	if err := errors.Join(env.Load(&login), err); err != nil {
		return nil, err
	}
	// The gateway has the same settings, and its listener is not on loopback.
	return status.New(status.Deps{
		Env: env, Observer: b.Observer, Runtimes: b.Runtimes, Profiles: profiles, Login: login.Login(false),
	})
}
