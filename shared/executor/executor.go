package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// Shipper stores the growing log in pieces; joblog.Shipper is one.
type Shipper interface {
	// Run ships until ctx ends.
	Run(ctx context.Context)
	// Finish ships what is left, once nobody writes any more.
	Finish(ctx context.Context) error
}

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
	// first, it returns the arguments with which Command does so, and those with which it then runs
	// the program.
	Build func(files fs.FS) (build, program []string, err error)
	// Explain says why a program that failed by itself did so, from what it wrote to its standard
	// error, or "". built tells that it was the one that Build returned. It may be nil.
	Explain func(stderr string, built bool) string
	// Ship returns what ships the log, or nil to ship none.
	Ship func(log spool.Files) Shipper
	// Prepare gives the workspace to the user the program will run as.
	Prepare func(dir string) error
	// Last reports whether no further attempt follows one that ended so, and results are to be stored.
	Last func(Exit) bool
	// Grace is the time between asking the program to end and ending it.
	Grace time.Duration
	// Now, when it is closed, cuts the grace short, and what is stored: nothing of the job will be
	// kept. It may be nil.
	Now    <-chan struct{}
	Limits OutputLimits
	// StoreRetry is the pause before storing an output is tried again.
	StoreRetry time.Duration
	Log        *slog.Logger
}

// Result is what became of an attempt. Outputs is nil when another attempt follows.
type Result struct {
	Exit    Exit
	Ran     bool // whether the program was started, so that Exit.Code is its own
	Outputs *job.Outputs
	At      time.Time // when it ended; zero: just now
}

// Run makes the attempt. It ends the program when ctx ends, for the reason that is ctx's cause.
// What goes wrong is in the result: an attempt always has one.
func (t *Task) Run(ctx context.Context) Result {
	// What has to be stored is stored although the job was cancelled.
	storing, stop := t.untilRemoved(context.WithoutCancel(ctx))
	defer stop()
	if err := t.Workspace.Reset(ctx); err != nil {
		if ctx.Err() != nil {
			return Result{Exit: stopped(Exit{}, context.Cause(ctx))}
		}
		return t.failed(job.ReasonStartFailed, "the workspace could not be made", err)
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
	return result
}

// untilRemoved returns a context that ends as well when nothing of the job will be kept.
func (t *Task) untilRemoved(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	if t.Now == nil {
		return ctx, stop
	}
	go func() {
		select {
		case <-t.Now:
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

// removed reports whether nothing of the job will be kept.
func (t *Task) removed() bool {
	select {
	case <-t.Now:
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
	if saved, err := t.Workspace.loadExit(t.Number); err == nil {
		result = saved
	}
	if t.Last(result.Exit) {
		t.collect(ctx, l, &result)
	}
	return result
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

func (t *Task) saveExit(r Result) {
	if err := t.Workspace.saveExit(t.Number, r); err != nil {
		t.Log.Warn("exit not saved; a crash from here on would show as Interrupted", "job", t.Index.JobID, "error", err)
	}
}

func (t *Task) failed(reason job.Reason, message string, err error) Result {
	t.Log.Error("attempt failed", "job", t.Index.JobID, "reason", reason, "error", err)
	return Result{Exit: Exit{Reason: reason, Message: message}}
}

// attempt fetches and executes.
func (t *Task) attempt(ctx context.Context, l spool.Files) Result {
	if err := t.Fetch(ctx); err != nil {
		if ctx.Err() != nil {
			return Result{Exit: stopped(Exit{}, context.Cause(ctx))}
		}
		return t.failed(job.ReasonFetchFailed, "an uploaded file could not be brought to the program; try the job again", err)
	}
	if t.Prepare != nil {
		if err := t.Prepare(t.Workspace.Files()); err != nil {
			return t.failed(job.ReasonStartFailed, "the workspace could not be given to the program", err)
		}
		if err := t.Prepare(t.Workspace.Temp()); err != nil {
			return t.failed(job.ReasonStartFailed, "the workspace could not be given to the program", err)
		}
	}
	return t.execute(ctx, l)
}

func (t *Task) execute(ctx context.Context, l spool.Files) Result {
	if err := l.Begin(t.Number); err != nil {
		return t.failed(job.ReasonStartFailed, "the log could not be begun", err)
	}
	command := t.Command
	command.Log = l
	build, program, err := t.build()
	if err != nil {
		return t.failed(job.ReasonStartFailed, "the program's sources could not be looked at", err)
	}
	if build != nil {
		command.Args = build
		if result := t.start(ctx, l, command, true); result.Exit != (Exit{}) {
			return result
		}
		command.Args = program
	}
	return t.start(ctx, l, command, false)
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
	exit, err := wait(ctx, p, t.Grace, t.Now)
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

// Fetch brings the uploaded files into the workspace and verifies them.
func (t *Task) Fetch(ctx context.Context) error {
	dir, err := t.Workspace.openFolder(filesDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	files := slices.Clone(t.Index.Files)
	for i, f := range files { // jobs of earlier versions have no modes
		if t.Index.Runtime == "binary" && f.Name == t.Index.Entrypoint {
			files[i].Mode = job.ModeExecutable
		}
	}
	return fetch(ctx, t.From, files, dir, fetchTime(t.Index))
}

type exited struct {
	exit Exit
	err  error
}

// wait waits for the program, and ends it when ctx does.
func wait(ctx context.Context, p Process, grace time.Duration, now <-chan struct{}) (Exit, error) {
	done := make(chan exited, 1)
	go func() {
		exit, err := p.Wait()
		done <- exited{exit, err}
	}()
	select {
	case e := <-done:
		return e.exit, e.err
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	e, err := end(p, grace, now, done)
	if err != nil {
		return Exit{}, err
	}
	return stopped(e.exit, cause), e.err
}

// end asks the program to end, and after the grace ends it with all it has started.
func end(p Process, grace time.Duration, now <-chan struct{}, done <-chan exited) (exited, error) {
	_ = p.Terminate() // one that cannot be asked is killed below
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case e := <-done:
		return e, nil
	case <-timer.C:
	case <-now:
	}
	if err := p.Kill(); err != nil {
		return exited{}, fmt.Errorf("kill: %w", err)
	}
	return <-done, nil
}

// stopped gives an exit the reason for which we ended the program.
func stopped(e Exit, cause error) Exit {
	switch {
	case errors.Is(cause, ErrCancelled):
		e.Reason, e.Message = job.ReasonCancelled, "cancelled by its user"
	case errors.Is(cause, ErrDeadline):
		e.Reason, e.Message = job.ReasonDeadlineExceeded, "the job ran longer than its timeoutSeconds"
	default:
		e.Reason, e.Message = job.ReasonInterrupted, "the server was stopped while the program ran"
	}
	return e
}

func (t *Task) collect(ctx context.Context, l spool.Files, result *Result) {
	c := newCollector(t.To, t.Limits, t.StoreRetry)
	collected := c.collect(ctx, t.Workspace, l)
	err := errors.Join(collected, t.To.PutManifest(ctx, c.files))
	result.Outputs = &c.summary
	behind, err2 := t.leftBehind(ctx)
	if err2 != nil { // the outputs are what matters
		t.Log.Warn("files outside results/ not looked for", "job", t.Index.JobID, "error", err2)
	}
	result.Outputs.NotCollected = behind
	if err == nil || t.removed() {
		return
	}
	t.Log.Error("outputs not stored", "job", t.Index.JobID, "error", err)
	const lost = "some of its outputs could not be stored"
	if result.Exit.Reason == "" && result.Exit.Code == 0 {
		result.Exit.Reason, result.Exit.Message = job.ReasonOutputsLost, lost
	} else {
		result.Exit.Message = join(result.Exit.Message, lost)
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// shipping is a Shipper at work.
type shipping struct {
	shipper Shipper
	stop    context.CancelFunc
	done    chan struct{}
	log     *slog.Logger
}

func (t *Task) startShipper(ctx context.Context, l spool.Files) *shipping {
	s := &shipping{done: make(chan struct{}), log: t.Log.With("job", t.Index.JobID)}
	if t.Ship != nil {
		s.shipper = t.Ship(l)
	}
	ctx, s.stop = context.WithCancel(ctx)
	go func() {
		defer close(s.done)
		if s.shipper != nil {
			s.shipper.Run(ctx)
		}
	}()
	return s
}

// finish ships what is left. A piece that cannot be stored is no loss: the whole log is stored as
// well.
func (s *shipping) finish(ctx context.Context) {
	s.stop()
	<-s.done
	if s.shipper == nil {
		return
	}
	if err := s.shipper.Finish(ctx); err != nil {
		s.log.Warn("live log incomplete", "error", err)
	}
}

type savedExit struct {
	Attempt int       `json:"attempt"`
	Exit    Exit      `json:"exit"`
	Ran     bool      `json:"ran"`
	At      time.Time `json:"at"`
}

// saveExit notes how the program ended before anything is stored, so that a crash meanwhile does
// not turn a program that has ended into one that was interrupted.
func (w Workspace) saveExit(attempt int, r Result) error {
	return w.WriteRecord(ExitRecord, savedExit{attempt, r.Exit, r.Ran, time.Now().UTC()})
}

func (w Workspace) loadExit(attempt int) (Result, error) {
	var saved savedExit
	if err := w.ReadRecord(ExitRecord, &saved); err != nil {
		return Result{}, err
	}
	if saved.Attempt != attempt {
		return Result{}, fmt.Errorf("saved exit of attempt %d: %w", saved.Attempt, fs.ErrNotExist)
	}
	return Result{Exit: saved.Exit, Ran: saved.Ran, At: saved.At}, nil
}
