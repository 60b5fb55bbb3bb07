package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/proctree"
	"go-job-orchestrator/shared/runtimes"
)

// runner is the part that runs the program, in the program's image and with nothing that the
// program may not know.
type runner struct {
	paths
	environ []string // of the image
	temp    string   // the folder for temporary files
	stdout  io.Writer
	stderr  io.Writer
	log     *slog.Logger
}

// exec waits until it may start, runs the program and returns its exit code.
func (r *runner) exec(ctx context.Context) (code int, err error) {
	var t task
	if err := await(ctx, r.workspace(), taskRecord, &t); err != nil {
		return 0, err
	}
	if t.Failed != "" {
		return 0, fmt.Errorf("%w: %s", errFetch, t.Failed)
	}
	if t.Index == nil {
		return 0, nil
	}
	// The program has this process's user. Where its container shares the pod's processes, this is not
	// their first.
	if err := errors.Join(proctree.Adopt(), proctree.Hide()); err != nil {
		return 0, err
	}
	var installed *prepare.Installed
	if t.Prepare {
		e, err := r.execution(&t, 1)
		if err != nil {
			return 0, err
		}
		var run bool
		if installed, run, err = r.install(ctx, e); err != nil || !run {
			return 0, err
		}
	}
	if err := r.workspace().WriteRecord(readyRecord, struct{}{}); err != nil {
		return 0, err
	}
	var begin start
	if err := await(ctx, r.workspace(), startRecord, &begin); err != nil {
		return 0, err
	}
	if begin.Failed {
		return 0, fmt.Errorf("no attempt can be made: %s", begin.Why)
	}
	if begin.Number == 0 {
		r.log.Info("nothing to run", "why", begin.Why)
		return 0, nil
	}
	e, err := r.execution(&t, begin.Number)
	if err != nil {
		return 0, err
	}
	e.Use(installed, r.workspace().Files())
	secrets, err := r.takeSecrets(t.Index)
	if err != nil {
		return 0, err
	}
	e.Command.WithSecrets(secrets)
	stop := r.copyLogs()
	defer stop()
	result := e.Execute(ctx)
	if !result.Ran {
		return exitPlatform, fmt.Errorf("%s: %s", result.Exit.Why(), result.Exit.Message)
	}
	return result.Exit.Code, nil
}

// execution is the attempt. A program that this image cannot run is found out by starting it, so
// that it ends like every other.
func (r *runner) execution(t *task, number int) (*executor.Task, error) {
	kind, err := runtimes.Find(t.Index.Runtime)
	if err != nil {
		return nil, err
	}
	w := r.workspace()
	interpreter := kind.Interpreter
	if interpreter != "" {
		if found, err := exec.LookPath(interpreter); err == nil {
			interpreter = found
		}
	}
	e := &executor.Task{
		Index: t.Index, Number: number, Workspace: w, Starter: starter{workspace: w, maxLog: t.MaxLog}, Grace: t.Grace,
		Log: r.log,
	}
	e.Command.Path, e.Command.Args = kind.Command(interpreter, w.Files(), t.Index)
	e.Build = func(uploaded fs.FS) (build, program []string, err error) {
		return kind.Build(uploaded, w.Files(), r.temp, t.Index)
	}
	e.Explain = kind.Explain
	e.Command.NonBlocking = kind.NonBlocking
	e.Command.Env = environment(r.environ, append(executor.Environment(t.Index, number, w.Files(), r.temp,
		os.Getenv("PATH")), kind.Env(w.Files(), t.Index)...))
	return e, nil
}

// environment is what the image sets, such as JAVA_HOME, under what the job sets. What tells of the
// cluster is left out.
func environment(image, ours []string) []string {
	all := map[string]string{}
	for _, variable := range slices.Concat(image, ours) {
		name, value, found := strings.Cut(variable, "=")
		if found && !strings.HasPrefix(name, "KUBERNETES_") {
			all[name] = value
		}
	}
	out := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, name+"="+all[name])
	}
	return out
}

// copyLogs copies both logs to the container's own streams as they grow, for kubectl logs. What it
// returns copies the rest and ends it.
func (r *runner) copyLogs() (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	log, err := r.workspace().OpenLog()
	if err != nil {
		r.log.Warn("kubectl logs will not show the program's log", "error", err)
		return func() {}
	}
	for f, to := range map[*os.File]io.Writer{log.Stdout: r.stdout, log.Stderr: r.stderr} {
		// What earlier attempts wrote is in their own pods' logs.
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			r.log.Warn("kubectl logs will not show the program's log", "error", err)
			continue
		}
		all.Go(func() { follow(f, to, done) })
	}
	return func() {
		close(done)
		all.Wait()
		log.Close()
	}
}

// followPoll is how often a log is looked at for kubectl logs.
const followPoll = 100 * time.Millisecond

func follow(f io.Reader, to io.Writer, done <-chan struct{}) {
	tick := time.NewTicker(followPoll)
	defer tick.Stop()
	for last := false; ; {
		if _, err := io.Copy(to, f); err != nil || last {
			return
		}
		select {
		case <-done:
			last = true
		case <-tick.C:
		}
	}
}
