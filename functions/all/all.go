// Package all is every function in one process on one port, with an event bus in it, and jobs as sandboxed child
// processes.
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

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/functions/cancel"
	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/functions/logs"
	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/command"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/process"
	"go-job-orchestrator/shared/serve"
)

// Settings are those of the one process.
type Settings struct {
	Host string `env:"HOST" envDefault:"127.0.0.1"` // whoever reaches the port can run programs
}

// Run serves everything until ctx ends, and says on out where and how.
func Run(ctx context.Context, env *platform.Env, out io.Writer) error {
	a, err := open(ctx, env)
	if err != nil {
		return err
	}
	// The port is opened before anything is done to jobs, and answers only when all that was left behind is taken up.
	ln, err := serve.Listen(ctx, a.settings.Host, a.common.Port)
	if err != nil {
		return err
	}
	defer ln.Close()
	if err := a.start(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, a.greeting(ln.Addr()))
	return a.gate.Serve(ctx, ln, a.router, env)
}

// app is the opened process.
type app struct {
	env      *platform.Env
	settings Settings
	common   *platform.Common
	router   *api.Router
	gate     *serve.Gate
	bus      *event.Bus
	host     *process.Host
	launch   *launch.Function
	reap     *reap.Function
}

func open(ctx context.Context, env *platform.Env) (*app, error) {
	a := &app{env: env, router: api.NewRouter(env.Log)}
	common, err := env.Common()
	// All of them now, so that whoever starts this learns of all faults at once.
	err = errors.Join(err, env.Load(&a.settings), env.Load(&process.Settings{}), env.Load(&submit.Settings{}),
		env.Load(&artifacts.Settings{}), env.Load(&logs.Settings{}), env.Load(&reap.Settings{}), env.Load(&serve.Settings{}))
	if common != nil {
		_, storeErr := env.Store()
		err = errors.Join(err, storeErr, openKeys(env, common))
	}
	if err != nil {
		return nil, err
	}
	a.common = common
	if a.gate, err = serve.OpenGate(env); err != nil {
		return nil, err
	}
	if a.bus, err = event.NewBus(); err != nil {
		return nil, err
	}
	background := event.NewBackground(a.bus, env.Log)
	env.OnDrain(background.Drain)
	outside, err := event.OpenOutside(env)
	if err != nil {
		return nil, err
	}
	event.SetSink(env, event.Fork{Launcher: background, Outside: outside})
	if a.host, err = process.Open(ctx, env); err != nil {
		return nil, err
	}
	env.OnDrain(a.host.Drain)
	return a, a.mount(ctx)
}

// mount opens each function and routes it.
func (a *app) mount(ctx context.Context) error {
	records, err := event.OpenLedger(a.env)
	if err != nil {
		return err
	}
	a.launch = launch.New(a.host, records, a.env.Log)
	var errs [8]error
	var functions [7]serve.Function
	functions[0], errs[0] = submit.OpenWith(ctx, a.env, a.host)
	functions[1], errs[1] = status.Open(ctx, a.env)
	functions[2], errs[2] = logs.Open(ctx, a.env)
	functions[3], errs[3] = artifacts.Open(ctx, a.env)
	functions[4], errs[4] = outputs.Open(ctx, a.env)
	functions[5], errs[5] = cancel.OpenWith(ctx, a.env, a.host)
	functions[6], errs[7] = agentapi.Open(ctx, a.env)
	a.reap, errs[6] = reap.OpenBeside(ctx, a.env, a.host)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	for _, f := range functions {
		f.Mount(a.router)
	}
	openapi.Mount(a.router)
	return nil
}

// start takes up what an earlier process left, then receives events and reaps.
func (a *app) start(ctx context.Context) error {
	records, err := event.OpenLedger(a.env)
	if err != nil {
		return err
	}
	// No other process stores uploads here, so whatever is unfinished was cut off.
	if _, err := records.SweepUploads(ctx, 0); err != nil {
		return fmt.Errorf("sweep uploads: %w", err)
	}
	s, err := a.env.Store()
	if err != nil {
		return err
	}
	if err := s.Sweep(ctx, 0); err != nil {
		return err
	}
	if err := a.host.Recover(ctx); err != nil {
		return err
	}
	receiving, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.env.OnDrain(stop)
	go func() {
		if err := a.bus.Receive(receiving, a.launch.Handle); err != nil {
			a.env.Log.Error("event bus stopped; the reaper launches jobs", "error", err)
		}
	}()
	go a.reap.Every(ctx)
	return nil
}

// greeting says on one line what there is and what to try.
func (a *app) greeting(addr net.Addr) string {
	listener := addr.(*net.TCPAddr) //nolint:forcetypeassert // Listen opens TCP
	where := address(listener)
	storage := a.common.StorageDir
	if full, err := filepath.Abs(storage); err == nil {
		storage = full
	}
	if bucket, _, _ := strings.Cut(a.common.StorageURL, "?"); bucket != "" { // its parameters may be secret
		storage = bucket
	}
	return fmt.Sprintf("Listening on %s%s, storing in %s, runtimes: %s, sandbox: %s, %d jobs at a time. "+
		`Try: echo 'print("hello")' | curl -F runtime=python -F entrypoint=hello.py -F 'files=@-;filename=hello.py' %s/api/v1/jobs`,
		where, reach(listener, machineAddresses()), storage, a.host.Machine,
		a.host.Sandbox.Describe(), a.host.Slots, where)
}

// reach says who else can reach a listener that is not only this machine's own.
func reach(a *net.TCPAddr, machine []netip.Addr) string {
	const others = "reachable from other machines: whoever reaches it can run programs here"
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
		if at.Is4() && !m.Is4() { // one that listens at [::] has those of IPv4 too
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

// maxAddresses is how many of the machine's addresses the greeting names.
const maxAddresses = 8

// machineAddresses lists the addresses at which other machines can reach this one.
func machineAddresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // they are only for people to read
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

// Main is the command. It returns the exit code.
func Main() int {
	usage := command.Usage{
		Summary: "The whole orchestrator in one process: serves the API, and runs jobs in a sandbox on this machine.",
		Settings: []any{
			&platform.Common{}, &Settings{}, &process.Settings{}, &submit.Settings{}, &artifacts.Settings{}, &logs.Settings{},
			&reap.Settings{}, &serve.Settings{},
		},
	}
	return serve.Run(usage, func(ctx context.Context, env *platform.Env) error { return Run(ctx, env, os.Stdout) })
}
