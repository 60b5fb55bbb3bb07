package executor

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/spool"
)

// Task is one attempt of a job.
type Task struct {
	Index     *job.Index
	Number    int // of the attempt, from 1
	Workspace Workspace
	From      Artifacts
	To        Results
	Starter   Starter
	// Command is the program to run; its Log is set here.
	Command Command
	// Build, if it is set, is called once the files are there. When there is something to make of them
	// first, it returns the arguments with which Command does so. It also returns those with which
	// Command runs the program, or nil for its own.
	Build func(files fs.FS) (build, program []string, err error)
	// Explain says why a program that failed by itself did so, from what it wrote to its standard
	// error, or "". built tells that it was the one that Build returned. It may be nil.
	Explain func(stderr string, built bool) string
	// Packages installs what the program needs; nil: nothing is installed.
	Packages *Packages
	// Prepared is set by Ready once it has begun to install packages.
	Prepared bool
	// Installed is what Ready or Install has installed; nil: nothing.
	Installed *prepare.Installed
	// Ship returns what ships the log, or nil to ship none.
	Ship func(log spool.Files) Shipper
	// Prepare gives the workspace to the user the program will run as.
	Prepare func(dir string) error
	// Last reports whether no further attempt follows one that ended so, and results are to be stored.
	Last func(Exit) bool
	// Grace is the time between asking the program to end and ending it.
	Grace time.Duration
	// Removed is closed when the job is removed: nothing of it will be kept, so the grace is cut
	// short, and nothing more is stored. It may be nil.
	Removed <-chan struct{}
	Limits  OutputLimits
	// StoreRetry is the pause before storing an output is tried again.
	StoreRetry time.Duration
	Log        *slog.Logger

	// Timing is when the parts of the attempt were made. It is recorded if the index has Telemetry.
	Timing job.Timing

	ready bool // Ready has filled the workspace
}

// Result is what became of an attempt. Outputs is nil when another attempt follows.
type Result struct {
	Exit    Exit
	Ran     bool // whether the program was started, so that Exit.Code is its own
	Outputs *job.Outputs
	At      time.Time // when it ended; zero: just now
	Timing  *job.Timing
}

// Run makes the attempt. It ends the program when ctx ends, for the reason that is ctx's cause.
// What goes wrong is in the result: an attempt always has one.
func (t *Task) Run(ctx context.Context) Result {
	// What has to be stored is stored although the job was cancelled.
	storing, stop := t.untilRemoved(context.WithoutCancel(ctx))
	defer stop()
	if !t.ready {
		if err := t.Workspace.Reset(ctx); err != nil {
			if ctx.Err() != nil {
				return Result{Exit: stopped(Exit{}, context.Cause(ctx))}
			}
			return t.failed(job.ReasonStartFailed, "the workspace could not be made", err)
		}
	}
	l, err := t.Workspace.OpenLog()
	if err != nil {
		return t.failed(job.ReasonStartFailed, "the log could not be opened", err)
	}
	defer l.Close()
	shipper := t.startShipper(storing, l)
	result := t.attempt(ctx, l)
	if result.Ran {
		t.saveExit(result)
	}
	shipper.finish(storing)
	if t.Last(result.Exit) {
		t.collect(storing, l, &result)
	}
	return t.timed(result)
}

// timed gives a result the times of its parts, if they are wanted.
func (t *Task) timed(r Result) Result {
	if t.Index.Telemetry != nil {
		timing := t.Timing
		r.Timing = &timing
	}
	return r
}

func now() time.Time { return time.Now().UTC() }

// untilRemoved returns a context that ends as well when nothing of the job will be kept.
func (t *Task) untilRemoved(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	if t.Removed == nil {
		return ctx, stop
	}
	go func() {
		select {
		case <-t.Removed:
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

// removed reports whether nothing of the job will be kept.
func (t *Task) removed() bool {
	select {
	case <-t.Removed:
		return true
	default:
		return false
	}
}

// Interrupted is the result of an attempt of which nothing is known but that its server died.
func Interrupted() Result {
	return Result{Exit: Exit{Reason: job.ReasonInterrupted, Message: "the server went away while the program ran"}}
}

// Collect ships the log of an attempt that somebody else executes until ended is closed, and then
// stores what it left. The result is that which Execute saved, or Interrupted when it could not.
func (t *Task) Collect(ctx context.Context, ended <-chan struct{}) Result {
	ctx, stop := t.untilRemoved(ctx)
	defer stop()
	l, err := t.Workspace.OpenLog()
	if err != nil {
		<-ended
		return t.failed(job.ReasonInterrupted, "the program's log could not be opened", err)
	}
	defer l.Close()
	shipper := t.startShipper(ctx, l)
	<-ended
	shipper.finish(ctx)
	result := Interrupted()
	if saved, begun, err := t.Workspace.loadExit(t.Number); err == nil {
		result = saved
		t.Timing.ExecStartedAt, t.Timing.ExecFinishedAt = begun, saved.At
	}
	if t.Last(result.Exit) {
		t.collect(ctx, l, &result)
	}
	return t.timed(result)
}

// Salvage is Collect for an attempt whose server died before it could.
func (t *Task) Salvage(ctx context.Context) Result {
	ended := make(chan struct{})
	close(ended)
	return t.Collect(ctx, ended)
}

// Execute runs the program in a workspace that Fetch has filled, and saves how it ended for
// Collect.
func (t *Task) Execute(ctx context.Context) Result {
	l, err := t.Workspace.OpenLog()
	if err != nil {
		return t.failed(job.ReasonStartFailed, "the log could not be opened", err)
	}
	defer l.Close()
	result := t.execute(ctx, l)
	t.saveExit(result)
	return result
}

func (t *Task) failed(reason job.Reason, message string, err error) Result {
	t.Log.Error("attempt failed", "job", t.Index.JobID, "reason", reason, "error", err)
	return Result{Exit: Exit{Reason: reason, Message: message}}
}

// attempt fetches and executes.
func (t *Task) attempt(ctx context.Context, l spool.Files) Result {
	if !t.ready {
		if failed := t.fill(ctx); failed != nil {
			return *failed
		}
	}
	return t.execute(ctx, l)
}

// fetchMessage says why files could not be brought to the program. Of errors other than faults of an
// archive only the server's log tells.
func fetchMessage(err error) string {
	var faults *job.Faults
	if errors.As(err, &faults) && errors.Is(err, job.ErrInvalid) {
		return "the archive could not be unpacked: " + faults.Error()
	}
	return "an uploaded file could not be brought to the program; try the job again"
}

// fill brings the files and gives the workspace to the program. It returns nil, or how the attempt
// ends.
func (t *Task) fill(ctx context.Context) *Result {
	failed := func(reason job.Reason, message string, err error) *Result {
		r := t.failed(reason, message, err)
		return &r
	}
	t.Timing.FetchStartedAt = now()
	err := t.Fetch(ctx)
	t.Timing.FetchFinishedAt = now()
	if err != nil {
		if ctx.Err() != nil {
			return &Result{Exit: stopped(Exit{}, context.Cause(ctx))}
		}
		return failed(job.ReasonFetchFailed, fetchMessage(err), err)
	}
	if t.Prepare == nil {
		return nil
	}
	for _, dir := range []string{t.Workspace.Files(), t.Workspace.Temp()} {
		if err := t.Prepare(dir); err != nil {
			return failed(job.ReasonStartFailed, "the workspace could not be given to the program", err)
		}
	}
	return nil
}

func (t *Task) execute(ctx context.Context, l spool.Files) Result {
	t.Timing.ExecStartedAt = now()
	defer func() { t.Timing.ExecFinishedAt = now() }()
	if err := l.Begin(t.Number); err != nil {
		return t.failed(job.ReasonStartFailed, "the log could not be begun", err)
	}
	command := t.Command
	command.Log = l
	stdin, err := t.openStdin() // before anything of the user's runs
	if err != nil {
		return t.failed(job.ReasonStartFailed, "the program's standard input could not be opened", err)
	}
	defer stdin.Close() // does nothing if it is nil
	build, program, err := t.build()
	if err != nil {
		return t.failed(job.ReasonStartFailed, "the program's sources could not be looked at", err)
	}
	if build != nil {
		building := command
		building.Args, building.Secrets = build, nil
		if result := t.start(ctx, l, building, true); result.Exit != (Exit{}) {
			return result
		}
	}
	if program != nil {
		command.Args = program
	}
	command.Stdin = stdin
	return t.start(ctx, l, command, false)
}

// openStdin opens what the program reads; nil: nothing.
func (t *Task) openStdin() (*os.File, error) {
	if t.Index.Stdin == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	return t.Workspace.openStdin(t.Index.Stdin)
}

func (t *Task) build() (build, program []string, err error) {
	if t.Build == nil {
		return nil, nil, nil
	}
	dir, err := t.Workspace.openFolder(filesDir)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	return t.Build(dir.FS())
}

// start runs a program to its end.
func (t *Task) start(ctx context.Context, l spool.Files, command Command, build bool) Result {
	written := sizeOf(l.Stderr)
	p, err := t.Starter.Start(command)
	if err != nil {
		return t.failed(job.ReasonStartFailed, "the program could not be started; the server's log says why", err)
	}
	exit, err := wait(ctx, p, t.Grace, t.Removed)
	if err != nil {
		return t.failed(job.ReasonStartFailed, "how the program ended is not known; the server's log says why", err)
	}
	if t.Explain != nil && exit.Code != 0 && exit.Reason == "" && exit.Signal == "" {
		if why := t.Explain(beginning(l.Stderr, written), build); why != "" {
			exit.Reason, exit.Message = job.ReasonError, why
		}
	}
	return Result{Exit: exit, Ran: exit.Reason != job.ReasonCannotRun}
}

// maxExplained is how much of what a program wrote to its standard error is looked at to explain
// its failure.
const maxExplained = 256 << 10

func sizeOf(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// beginning returns what was written to the file from an offset on, as far as it is looked at.
func beginning(f *os.File, from int64) string {
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxExplained))
	if err != nil {
		return "" // it only explains
	}
	return string(text)
}
