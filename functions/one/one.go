// Package one is the whole API as one Knative Service, for those who prefer one start to separate
// accounts. Jobs run as Kubernetes Jobs, and submit launches them in the same process, without a
// Broker. The reaper is a CronJob of its own. All records are written once or conditionally, so any
// number of these processes can share the storage.
package one

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"go-job-orchestrator/functions/assembly"
	"go-job-orchestrator/functions/keys"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/command"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/settings"
)

// Deps is what the API is wired over.
type Deps struct {
	Backend assembly.OpenBackend
	Keyring func(*platform.Env) (keys.Store, error)
	// KeysFile is where the Secret with the keys of callers is mounted, unless KEYS_FILE says so.
	KeysFile string
	// Push is for a process that reaps as well; nil: the reaper is elsewhere.
	Push assembly.OpenPusher
}

// InCluster is what there is in a pod.
func InCluster() Deps {
	return Deps{
		Backend:  kubernetes.OpenInCluster,
		Keyring:  func(env *platform.Env) (keys.Store, error) { return kubernetes.OpenKeyring(env) },
		KeysFile: "/etc/job-orchestrator/keys/keys.json",
	}
}

// Settings say which calls come from outside of the cluster.
type Settings struct {
	// Artifacts is where the pods of jobs find this process; empty: ORCH_BASE_URL. Their calls are
	// answered at its host alone.
	Artifacts string `env:"ARTIFACTS_URL"`
	// ExposeUploads answers the calls of agents at every host, for agents outside of the cluster.
	ExposeUploads bool `env:"EXPOSE_ARTIFACT_UPLOADS" envDefault:"false"`
}

// Open wires all functions. The error names the faults of all settings.
func Open(env *platform.Env, d Deps) (*assembly.Assembly, error) {
	gateway, err := auth.Open(env.Env, auth.Place{KeysFile: d.KeysFile})
	keyring, keyringErr := d.Keyring(env)
	outside, outsideErr := outside(env)
	who := assembly.Access{Keys: keyring, Outside: outside}
	if gateway != nil {
		who.Identify, who.Login, who.Browsers = gateway.Identify, gateway.Login, gateway
	}
	functions, openErr := assembly.Open(env, who, d.Backend, d.Push)
	return functions, errors.Join(openErr, err, keyringErr, outsideErr)
}

// originalHost has the name that a DomainMapping was called by. Knative's ingress then replaces the
// Host by the one inside the cluster.
const originalHost = "K-Original-Host"

// outside returns what tells requests from outside of the cluster: those that were not sent to the
// host by which pods find this process. Knative's ingress has no such host for the outside.
func outside(env *platform.Env) (func(*http.Request) bool, error) {
	var s Settings
	common, err := env.Common()
	if err := errors.Join(err, env.Load(&s)); err != nil {
		return nil, err
	}
	if s.ExposeUploads {
		return nil, nil //nolint:nilnil // nothing is hidden
	}
	if s.Artifacts == "" {
		s.Artifacts = common.BaseURL
	}
	inside, err := url.Parse(s.Artifacts)
	if err != nil || inside.Hostname() == "" {
		return nil, fmt.Errorf("ARTIFACTS_URL: %q is not the URL at which the pods of jobs find this service", s.Artifacts)
	}
	return func(r *http.Request) bool {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil { // no port
			host = strings.Trim(r.Host, "[]")
		}
		return !strings.EqualFold(host, inside.Hostname()) || r.Header.Get(originalHost) != ""
	}, nil
}

// Run serves everything until ctx ends.
func Run(ctx context.Context, env *platform.Env) error {
	functions, err := Open(env, InCluster())
	gate, gateErr := serve.OpenGate(env.Env)
	common, commonErr := env.Common()
	if err := errors.Join(err, gateErr, commonErr); err != nil {
		return err
	}
	ln, err := serve.Listen(ctx, "", common.Port)
	if err != nil {
		return err
	}
	env.Log.Info("listening", "address", ln.Addr().String())
	return gate.Serve(ctx, ln, functions.Router, env.Env)
}

// Main runs the command, and returns its exit code.
func Main() int {
	usage := command.Usage{
		Summary: "The whole API as one Knative Service, which runs jobs as Kubernetes Jobs.",
		Settings: append(assembly.Settings(), &settings.Common{}, &Settings{}, &kubernetes.Settings{},
			&kubernetes.ScheduleSettings{}, &serve.Settings{}, &auth.Settings{}),
	}
	return serve.Run(usage, func(ctx context.Context, env *settings.Env) error { return Run(ctx, platform.Over(env)) })
}
