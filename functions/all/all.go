// Package all runs every function in one process on one port. Jobs are sandboxed child processes,
// or Jobs of a Kubernetes cluster.
package all

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go-job-orchestrator/functions/assembly"
	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/command"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/process"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/telemetry"
)

// Settings are the settings of the one process alone.
type Settings struct {
	Host string `env:"HOST" envDefault:"127.0.0.1"` // every client that reaches the port can run programs
	Jobs string `env:"JOBS" envDefault:"processes"` // what jobs run as
}

// The values of JOBS.
const (
	asProcesses  = "processes"
	asKubernetes = "kubernetes"
)

// Check refuses an unknown value of JOBS.
func (s *Settings) Check() error {
	if s.Jobs != asProcesses && s.Jobs != asKubernetes {
		return fmt.Errorf("JOBS: %q is not one of %s, %s", s.Jobs, asProcesses, asKubernetes)
	}
	return nil
}

// ofRunner returns the settings of the chosen runner.
func (s *Settings) ofRunner() []any {
	if s.Jobs == asKubernetes {
		return kubernetesSettings()
	}
	return []any{&process.Settings{}}
}

// Run serves everything until ctx ends. It prints on out where it listens, and what it runs jobs
// with.
func Run(ctx context.Context, env *platform.Env, out io.Writer) error {
	a, err := open(ctx, env)
	if err != nil {
		return err
	}
	// The port is opened before any job is touched. Requests are answered only after Recover.
	ln, err := serve.Listen(ctx, a.settings.Host, a.common.Port)
	if err != nil {
		return err
	}
	defer ln.Close()
	if err := a.runner.Recover(ctx); err != nil {
		return err
	}
	go a.functions.Reap(ctx)
	fmt.Fprintln(out, a.greeting(ln.Addr()))
	if err := a.greetAdmin(ctx, out); err != nil {
		return err
	}
	return a.gate.Serve(ctx, ln, a.functions.Router, env.Env)
}

// runner runs the jobs.
type runner interface {
	Backend() backend.Backend
	// Describe says in one line what jobs run with.
	Describe() string
	// Recover continues with the jobs that an earlier process left.
	Recover(ctx context.Context) error
	// Drain ends what must not outlive this process.
	Drain()
}

// app is the opened process.
type app struct {
	settings  Settings
	common    *settings.Common
	gate      *serve.Gate
	access    *auth.Access
	functions *assembly.Assembly
	runner    runner
}

func open(ctx context.Context, env *platform.Env) (*app, error) {
	a := &app{}
	common, err := env.Common()
	err = errors.Join(err, env.Load(&a.settings))
	// All settings are read now, so that all faults are reported at once.
	err = errors.Join(err, assembly.Check(env), env.Load(&serve.Settings{}), env.Load(&auth.Settings{}))
	if common != nil && common.Collector != "" { // else they are those of other programs
		err = errors.Join(err, env.Load(&telemetry.Settings{}))
	}
	for _, settings := range a.settings.ofRunner() {
		err = errors.Join(err, env.Load(settings))
	}
	if common != nil {
		_, storeErr := env.Store()
		err = errors.Join(err, storeErr, openKeys(env, common))
	}
	if err != nil {
		return nil, err
	}
	a.common = common
	if a.gate, err = serve.OpenGate(env.Env); err != nil {
		return nil, err
	}
	a.access, err = auth.Open(env.Env, auth.Place{
		Loopback: isLoopback(a.settings.Host), KeysFile: filepath.Join(localFolder(common), "keys.json"),
	})
	if err != nil {
		return nil, err
	}
	who := assembly.Access{Identify: a.access.Identify, Keys: a.access.File, Login: a.access.Login, Browsers: a.access}
	a.functions, err = assembly.Open(env, who, func(env *platform.Env, records *ledger.Ledger) (backend.Backend, error) {
		if err := a.openRunner(ctx, env, records); err != nil {
			return backend.Backend{}, err
		}
		env.OnDrain(a.runner.Drain)
		return a.runner.Backend(), nil
	}, openPusher)
	return a, err
}

func openPusher(env *platform.Env, records *ledger.Ledger) (reap.Pusher, error) {
	return telemetry.Open(env, records)
}

func (a *app) openRunner(ctx context.Context, env *platform.Env, records *ledger.Ledger) (err error) {
	if a.settings.Jobs == asKubernetes {
		a.runner, err = openKubernetes(env, records)
		return err
	}
	a.runner, err = openProcesses(ctx, env, records)
	return err
}

// greeting says in one line where the server listens, what it runs jobs with, and which command to
// try.
func (a *app) greeting(addr net.Addr) string {
	listener := addr.(*net.TCPAddr) //nolint:forcetypeassert // Listen opens TCP
	where := address(listener)
	storage := a.common.StorageDir
	if full, err := filepath.Abs(storage); err == nil {
		storage = full
	}
	if bucket, _, _ := strings.Cut(a.common.StorageURL, "?"); bucket != "" { // the parameters may be secret
		storage = bucket
	}
	return fmt.Sprintf("Listening on %s%s, storing in %s, %s. "+
		`Try: echo 'print("hello")' | curl %s-F runtime=python -F entrypoint=hello.py -F 'files=@-;filename=hello.py' `+
		`%s/api/v1/jobs`,
		where, reach(listener, machineAddresses(), a.access.Describe()), storage, a.runner.Describe(), a.access.Option(),
		where)
}

// greetAdmin prints the key of an admin where keys are asked for and there are none.
func (a *app) greetAdmin(ctx context.Context, out io.Writer) error {
	key, err := a.access.FirstKey(ctx)
	if err != nil || key == "" {
		return err
	}
	fmt.Fprintf(out, "The first key, of an admin, shown this once: %s\n", key)
	return nil
}

// isLoopback reports whether only programs of this machine reach a listener at the host.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// reach says if other machines can reach a listener, at which addresses, and who may call.
func reach(a *net.TCPAddr, machine []netip.Addr, callers string) string {
	others := "reachable from other machines: " + callers
	at := a.AddrPort().Addr().Unmap()
	switch {
	case at.IsLoopback():
		return ""
	case !at.IsUnspecified():
		return " (" + others + ")"
	}
	all := "all addresses of this machine"
	var list []string
	for _, m := range machine {
		if at.Is4() && !m.Is4() { // a listener at [::] accepts IPv4 too
			continue
		}
		list = append(list, m.String())
	}
	if len(list) > 0 {
		all += ", " + strings.Join(list[:min(len(list), maxAddresses)], ", ")
	}
	if len(list) > maxAddresses {
		all += ", …"
	}
	return fmt.Sprintf(" (%s, that is %s; %s)", net.JoinHostPort(at.String(), strconv.Itoa(a.Port)), all, others)
}

// maxAddresses is how many of the machine's addresses the greeting names at most.
const maxAddresses = 8

// machineAddresses lists the addresses at which other machines can reach this one.
func machineAddresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // the addresses are only information for people
	}
	var list []netip.Addr
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p.Addr().Unmap())
		}
	}
	return list
}

// address is a URL at which the listener answers on this machine.
func address(a *net.TCPAddr) string {
	host := a.IP.String()
	if a.IP.IsUnspecified() || a.IP.IsLoopback() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// Main runs the command, and returns its exit code.
func Main() int {
	usage := command.Usage{
		Summary: "The whole orchestrator in one process: serves the API, and runs jobs in a sandbox on this machine.",
		Settings: append(assembly.Settings(), &settings.Common{}, &Settings{}, &process.Settings{}, &serve.Settings{},
			&auth.Settings{}, &telemetry.Settings{}),
	}
	usage.Settings = append(usage.Settings, kubernetesSettings()...)
	return serve.Run(usage, func(ctx context.Context, env *settings.Env) error {
		return Run(ctx, platform.Over(env), os.Stdout)
	})
}
