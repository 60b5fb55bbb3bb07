package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"go-job-orchestrator/shared/fstree"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/spool"
)

// Packages is how a task installs the packages that its program needs.
type Packages struct {
	Service     prepare.Service
	Run         prepare.Run // nil: steps run on this side, by the task's Starter
	Interpreter string      // as the program sees it
	SearchPath  string      // the PATH of installers
	// Files and Temp are the program's folders as it sees them.
	Files, Temp string
	// Begin is called before anything is installed: from then on the job is preparing. It may be nil.
	Begin func(ctx context.Context) error
	// Answers remembers what the interpreters of this machine said; it may be nil.
	Answers *prepare.Answers
	// RetryPause is the pause before an index that could not be reached is tried again.
	RetryPause time.Duration
}

// The names of what a preparation leaves in the workspace.
const (
	prepareDir     = "prepare" // the spool of its log
	preparedRecord = "prepared.json"
)

// Ready brings the files and installs the packages that the program needs, before the attempt is
// claimed: until then the job is pending. It returns nil, and Run goes on from there, or the result of
// an attempt that ends here, whose outputs Fail stores.
func (t *Task) Ready(ctx context.Context) *Result {
	if t.Packages == nil {
		return nil
	}
	if err := t.Workspace.Reset(ctx); err != nil {
		return t.unready(ctx, job.ReasonStartFailed, "the workspace could not be made", err)
	}
	if r := t.fill(ctx); r != nil {
		return r
	}
	t.ready = true
	return t.Install(ctx)
}

// NeedsPackages reports whether the files of a workspace that Fetch has filled say that the program
// needs packages. What is wrong with them is said by Install.
func (t *Task) NeedsPackages() bool {
	sources, err := t.sources()
	return err != nil || sources != nil
}

// Install installs the packages that a program needs whose files are there. It returns nil, or how
// the attempt ends.
func (t *Task) Install(ctx context.Context) *Result {
	sources, err := t.sources()
	if errors.Is(err, job.ErrInvalid) {
		return &Result{Exit: Exit{Reason: job.ReasonDependenciesFailed, Message: err.Error()}}
	}
	if err != nil {
		return t.unready(ctx, job.ReasonStartFailed, "the program's files could not be looked at", err)
	}
	if sources == nil {
		return nil
	}
	err = t.prepare(ctx, sources)
	t.Timing.PrepareFinishedAt = now()
	if err != nil {
		var failure *prepare.Failure
		if ctx.Err() == nil && errors.As(err, &failure) {
			return &Result{Exit: failureExit(failure)}
		}
		return t.unready(ctx, job.ReasonStartFailed,
			"the program's packages could not be installed; the server's log says why", err)
	}
	return nil
}

// unready is how an attempt ends that could not begin.
func (t *Task) unready(ctx context.Context, reason job.Reason, message string, err error) *Result {
	switch {
	case ctx.Err() != nil:
		return &Result{Exit: stopped(Exit{}, context.Cause(ctx))}
	case errors.Is(err, ErrInterrupted):
		return &Result{Exit: stopped(Exit{}, ErrInterrupted)}
	}
	r := t.failed(reason, message, err)
	return &r
}

// failureExit is how an attempt ends whose packages could not be installed.
func failureExit(f *prepare.Failure) Exit {
	reason := job.ReasonDependenciesFailed
	if f.Reason != "" {
		reason = job.Reason(f.Reason)
	}
	return Exit{Reason: reason, Message: f.Message}
}

// Fail stores what an attempt left that ended before its program began.
func (t *Task) Fail(ctx context.Context, r Result) Result {
	storing, stop := t.untilRemoved(context.WithoutCancel(ctx))
	defer stop()
	if !t.Last(r.Exit) {
		return t.timed(r)
	}
	l, err := t.Workspace.OpenLog()
	if err != nil {
		t.Log.Warn("outputs not stored", "job", t.Index.JobID, "error", err)
		return t.timed(r)
	}
	defer l.Close()
	t.collect(storing, l, &r)
	return t.timed(r)
}

func (t *Task) sources() (*prepare.Sources, error) {
	dir, err := t.Workspace.openFolder(filesDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return prepare.Collect(dir.FS(), t.Index)
}

func (t *Task) prepare(ctx context.Context, sources *prepare.Sources) error {
	l, err := t.Workspace.OpenPrepareLog()
	if err != nil {
		return err
	}
	defer l.Close()
	if err := errors.Join(l.Truncate(), l.Begin(t.Number)); err != nil {
		return err
	}
	if t.Packages.Begin != nil {
		if err := t.Packages.Begin(ctx); err != nil {
			return err
		}
	}
	t.Prepared = true
	run := t.Packages.Run
	if run == nil {
		run = func(ctx context.Context, s prepare.Step) (prepare.Outcome, error) { return t.RunStep(ctx, l, s) }
	}
	p := &prepare.Preparer{
		Service: t.Packages.Service, Interpreter: t.Packages.Interpreter,
		Run: run, Files: t.Workspace.Files(), Temp: t.Workspace.Temp(),
		StepFiles: t.Packages.Files, StepTemp: t.Packages.Temp, Give: t.Prepare,
		Note: func(text string) { t.note(l, text) }, Log: t.Log.With("job", t.Index.JobID), Answers: t.Packages.Answers,
		RetryPause: t.Packages.RetryPause,
	}
	installed, err := p.Prepare(ctx, sources)
	if err != nil || installed == nil {
		return err
	}
	if err := t.Workspace.WriteRecord(preparedRecord, installed); err != nil {
		return err
	}
	t.Installed = installed
	t.Use(installed, t.Packages.Files)
	return nil
}

// OpenPrepareLog opens the log of the installation.
func (w Workspace) OpenPrepareLog() (spool.Files, error) { return w.openSpool(prepareDir) }

// note writes a line of ours to the log of the installation, between two steps.
func (t *Task) note(l spool.Files, text string) {
	_, err := l.Stdout.WriteString(text + "\n")
	if err = errors.Join(err, l.Repair()); err != nil {
		t.Log.Warn("log of the installation incomplete", "job", t.Index.JobID, "error", err)
	}
}

// Use has the program run with the installed packages, if there are any.
func (t *Task) Use(installed *prepare.Installed, files string) {
	if installed == nil {
		return
	}
	path, more := installed.Environment(files)
	if path != "" {
		t.Command.Path = path
	}
	for _, variable := range more {
		name, value, _ := strings.Cut(variable, "=")
		t.Command.Env = setVariable(t.Command.Env, name, value)
	}
}

// setVariable sets a variable; to PATH it adds a folder.
func setVariable(env []string, name, value string) []string {
	env = append([]string(nil), env...)
	for i, variable := range env {
		old, found := strings.CutPrefix(variable, name+"=")
		if !found {
			continue
		}
		if name == "PATH" {
			value += ":" + old
		}
		env[i] = name + "=" + value
		return env
	}
	return append(env, name+"="+value)
}

// The most bytes of what a step writes that are looked at.
const (
	maxStepOutput = 64 << 10
	maxStepLog    = 32 << 10 // of each stream
)

// errStep is the cause for which a step is ended whose time is up.
var errStep = errors.New("the step's time is up")

// RunStep runs a step of an installation like the program itself, with its limits. What it writes
// goes to the spool l.
func (t *Task) RunStep(ctx context.Context, l spool.Files, s prepare.Step) (prepare.Outcome, error) {
	ctx, stop := context.WithTimeoutCause(ctx, s.Timeout, errStep)
	defer stop()
	out, errs := sizeOf(l.Stdout), sizeOf(l.Stderr)
	command := Command{
		Path: s.Path, Args: s.Args, Env: s.Env, Log: l, NonBlocking: t.Command.NonBlocking,
		CPUMillis: t.Command.CPUMillis, MemoryBytes: t.Command.MemoryBytes,
	}
	if t.Packages != nil {
		command.Env = append([]string{"PATH=" + t.Packages.SearchPath}, s.Env...)
	}
	p, err := t.Starter.Start(command)
	if err != nil {
		return prepare.Outcome{}, fmt.Errorf("start %s: %w", s.Path, err)
	}
	exit, err := wait(ctx, p, t.Grace, t.Removed)
	if err != nil {
		return prepare.Outcome{}, fmt.Errorf("end of %s: %w", s.Path, err)
	}
	timedOut := errors.Is(context.Cause(ctx), errStep)
	if ctx.Err() != nil && !timedOut {
		return prepare.Outcome{}, context.Cause(ctx)
	}
	output := ending(l.Stdout, out, maxStepOutput)
	return prepare.Outcome{
		Code: exit.Code, Reason: string(exit.Reason), Message: exit.Message, TimedOut: timedOut, Output: output,
		Log: output[max(0, len(output)-maxStepLog):] + ending(l.Stderr, errs, maxStepLog),
	}, nil
}

// ending returns the end of what was written to a file from an offset on.
func ending(f *os.File, from, most int64) string {
	size := sizeOf(f)
	text, err := io.ReadAll(io.NewSectionReader(f, max(from, size-most), most))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(text), "")
}

// The parts of a long log of an installation that are kept.
const (
	maxPrepareHead = 256 << 10
	maxPrepareTail = 768 << 10
)

// storePrepareLog stores the log of the installation, if there was one, bounded.
func (c *collector) storePrepareLog(ctx context.Context, w Workspace) {
	if !w.wasPrepared() {
		return
	}
	f, size, err := w.prepareLog()
	if err != nil {
		c.lose(fmt.Errorf("store the log of the installation: %w", err))
		return
	}
	c.store(ctx, job.File{Name: job.PrepareLogFile, Size: size}, f, func() { f.Close() })
}

// wasPrepared reports whether packages were installed, or tried to be.
func (w Workspace) wasPrepared() bool {
	dir, err := fstree.Open(w.root, prepareDir)
	if err != nil {
		return false
	}
	dir.Close()
	return true
}

// prepareLog returns a file with both streams of the installation.
func (w Workspace) prepareLog() (*os.File, int64, error) {
	dir, err := w.openFolder(prepareDir)
	if err != nil {
		return nil, 0, err
	}
	defer dir.Close()
	l, err := spool.Open(dir)
	if err != nil {
		return nil, 0, err
	}
	defer l.Close()
	const name = "whole.log"
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err := copyEnds(f, l.Reader(), sizeOf(l.Stdout)+sizeOf(l.Stderr))
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// copyEnds copies the beginning and the end of a long text of so many bytes.
func copyEnds(to io.Writer, from io.Reader, total int64) (int64, error) {
	if total <= maxPrepareHead+maxPrepareTail {
		return io.Copy(to, from)
	}
	head, err := io.CopyN(to, from, maxPrepareHead)
	if err != nil {
		return head, err
	}
	left := total - maxPrepareHead - maxPrepareTail
	if _, err := io.CopyN(io.Discard, from, left); err != nil {
		return head, err
	}
	n, err := fmt.Fprintf(to, "\n… %d bytes left out …\n", left)
	if err != nil {
		return head, err
	}
	tail, err := io.Copy(to, from)
	return head + int64(n) + tail, err
}

// installedTrees are the folders that the packages of an attempt were installed into.
func (w Workspace) installedTrees() map[string]bool {
	trees := map[string]bool{}
	var installed prepare.Installed
	if err := w.ReadRecord(preparedRecord, &installed); err == nil {
		for _, tree := range installed.Trees {
			trees[tree] = true
		}
	}
	return trees
}
