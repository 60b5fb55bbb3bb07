package agent

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/caarlos0/env/v11"

	"go-job-orchestrator/shared/executor"
)

// exitPlatform is the agent's exit code when it could not do its work: sysexits.h calls it EX_SOFTWARE. A program's
// own codes are passed on.
const exitPlatform = 70

// Main is the command: it makes one attempt of the job that the environment names, and returns the exit code.
func Main() int {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	var s Settings
	if err := env.Parse(&s); err != nil {
		log.Error("settings", "error", err)
		return exitPlatform
	}
	a, err := New(s, log)
	if err != nil {
		log.Error("settings", "error", err)
		return exitPlatform
	}
	signalled, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithCancelCause(context.Background())
	context.AfterFunc(signalled, func() { cancel(executor.ErrInterrupted) })
	code, err := a.Run(ctx)
	if err != nil {
		log.Error("job not run to its end", "error", err)
		return exitPlatform
	}
	return code
}
