// Package serve turns a function into a process: settings from the environment, a log, a port, and
// an orderly end on SIGTERM.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/command"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/version"
)

// Function is what is served.
type Function interface {
	Mount(r *api.Router)
}

// shutdownWait is how long requests may take to end once the process is to stop.
const shutdownWait = 20 * time.Second

// Main opens a function with the environment of this process, serves it on PORT until SIGTERM, and
// returns the exit code. summary and its own settings are for --help; those that all functions have need
// not be among them.
func Main[F Function](open func(*settings.Env) (F, error), summary string, own ...any) int {
	usage := command.Usage{Summary: summary, Settings: append(own, &settings.Common{}, &Settings{})}
	return Run(usage, func(ctx context.Context, env *settings.Env) error {
		f, err := open(env)
		gate, gateErr := OpenGate(env)
		if err := errors.Join(err, gateErr); err != nil {
			return err
		}
		router := api.NewRouter(env.Log).Audited(env.Audit())
		f.Mount(router)
		common, err := env.Common()
		if err != nil {
			return err
		}
		ln, err := Listen(ctx, "", common.Port)
		if err != nil {
			return err
		}
		env.Log.Info("listening", "address", ln.Addr().String())
		return gate.Serve(ctx, ln, router, env)
	})
}

// Serve answers on a listener, behind the gate, until ctx ends.
func (g *Gate) Serve(ctx context.Context, ln net.Listener, h Handler, env *settings.Env) error {
	s := &api.Server{Log: env.Log, Wait: shutdownWait, Drain: env.Drain, MaxConnections: g.MaxConnections()}
	return s.Serve(ctx, ln, g.Before(h))
}

// Listen opens the port on a host, or on all interfaces when host is empty. 0.0.0.0 is all
// addresses of IPv4 and no others, which package net would add.
func Listen(ctx context.Context, host string, port uint16) (net.Listener, error) {
	var config net.ListenConfig
	network := "tcp"
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		network = "tcp4"
	}
	ln, err := config.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("HOST, PORT: %w", err)
	}
	return ln, nil
}

// Run calls f with a context that ends with SIGTERM or SIGINT, and returns the exit code. A second
// signal ends the process at once. A command line that asks for something else, or nothing that
// there is, is answered without f. The log's first line says what the process was built from.
func Run(usage command.Usage, f func(ctx context.Context, env *settings.Env) error) int {
	if _, code, done := usage.Parse(os.Args, os.Stdout, os.Stderr); done {
		return code
	}
	log := NewLog()
	log.Info("starting", "", version.Get())
	ctx, stop := untilSignal(log, os.Exit)
	defer stop()
	if err := f(ctx, settings.New(settings.OSVars(), log)); err != nil {
		log.Error("stopped", "error", distinct(err))
		return 1
	}
	return 0
}

// untilSignal returns a context that ends with the first signal to stop, which is logged with what
// the second one does: that calls exit.
func untilSignal(log *slog.Logger, exit func(code int)) (context.Context, context.CancelFunc) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			select {
			case got := <-signals:
				if !first {
					log.Warn("ended at once; what was running is taken up at the next start")
					number, _ := got.(syscall.Signal)
					exit(128 + int(number))
					return
				}
				again := "a second signal ends it at once"
				if got == os.Interrupt {
					again = "press Ctrl-C again to end at once"
				}
				log.Info("stopping: waiting for requests and running jobs; " + again)
				cancel()
			case <-over:
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(over)
		cancel()
	})
}

// distinct tells a fault once that several functions came across.
func distinct(err error) string {
	var lines, told []string
	for _, line := range strings.Split(err.Error(), "\n") {
		faults, ofSettings := strings.CutPrefix(line, "settings: ")
		if !ofSettings {
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
			continue
		}
		var fresh []string
		for _, fault := range settingFaults(faults) {
			if !slices.Contains(told, fault) {
				told, fresh = append(told, fault), append(fresh, fault)
			}
		}
		if len(fresh) > 0 {
			lines = append(lines, "settings: "+strings.Join(fresh, "; "))
		}
	}
	return strings.Join(lines, "\n")
}

// settingFaults takes apart what settings.Env.Load puts together: faults that begin with the names
// of settings.
func settingFaults(line string) []string {
	var list []string
	for piece := range strings.SplitSeq(line, "; ") {
		name, _, found := strings.Cut(piece, ":")
		isName := found && name == strings.ToUpper(name)
		if isName || len(list) == 0 {
			list = append(list, piece)
			continue
		}
		list[len(list)-1] += "; " + piece
	}
	return list
}
