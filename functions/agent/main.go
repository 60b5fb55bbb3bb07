package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/caarlos0/env/v11"

	"go-job-orchestrator/shared/command"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/proctree"
)

// exitPlatform is the agent's exit code when it could not do its work.
const exitPlatform = executor.PodPlatformFailed

// Main is the command: it is the part of the agent that its one argument names, and returns the
// exit code.
func Main() int {
	usage := command.Usage{
		Summary: "Runs one job's program in its pod: install copies the agent, sidecar fetches files " +
			"and stores results, exec runs the program, prestop waits until a container can be stopped.",
		Arguments: []string{"install", "sidecar", "exec", "prestop"},
		Settings:  []any{&Settings{}},
	}
	part, code, done := usage.Parse(current(os.Args), os.Stdout, os.Stderr)
	if done {
		return code
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	here := paths{work: executor.PodWorkDir, binary: executor.PodAgentDir, secrets: executor.PodSecretsDir,
		named: executor.PodNamedSecrets}
	code, err := run(log, part, os.Environ(), here, os.Stdout, os.Stderr)
	if err != nil {
		log.Error("stopped", "error", err)
		writeTerminationMessage(terminationLog, err)
		if code == 0 {
			code = exitPlatform
		}
	}
	return code
}

// current returns a command line with the present word for the sidecar. Launchers of earlier
// versions have another word for it, and may start newer agents while they are being replaced.
func current(line []string) []string {
	const former = "attend"
	if len(line) == 2 && line[1] == former {
		return []string{line[0], "sidecar"}
	}
	return line
}

// stopSignals are the signals by which a container runtime asks the first process to end: SIGTERM,
// unless the image of the program, which its user chooses, says otherwise (STOPSIGNAL).
func stopSignals() []os.Signal {
	const realTimeMin3 = syscall.Signal(37) // as the C library counts
	return []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
		syscall.SIGPWR,
		realTimeMin3,
	}
}

func run(log *slog.Logger, part string, environ []string, p paths, stdout, stderr io.Writer) (code int, err error) {
	signalled, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	defer stop()
	ctx, cancel := context.WithCancelCause(context.Background())
	context.AfterFunc(signalled, func() { cancel(executor.ErrInterrupted) })
	switch part {
	case "install":
		return 0, p.install()
	case "prestop":
		return 0, awaitStoppable(ctx, 1)
	case "exec":
		proctree.CatchSignals()
		r := &runner{paths: p, environ: environ, temp: os.TempDir(), stdout: stdout, stderr: stderr, log: log}
		return r.exec(ctx)
	}
	var s Settings
	if err := env.ParseWithOptions(&s, env.Options{Environment: env.ToMap(environ)}); err != nil {
		return 0, err
	}
	r, err := newSidecar(p, s, log)
	if err != nil {
		return 0, err
	}
	code, err = r.run(ctx)
	if errors.Is(err, errFetch) {
		code = executor.PodFetchFailed
	}
	return code, err
}
