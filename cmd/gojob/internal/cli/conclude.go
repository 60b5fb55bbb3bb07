package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/download"
	"go-job-orchestrator/cmd/gojob/internal/follow"
	"go-job-orchestrator/shared/job"
)

// conclude ends the run of a job that is over: outputs, last words, exit code.
func (s *session) conclude(ctx context.Context, end *follow.End) error {
	if end.Removed {
		s.console.fail("%s · was removed while it was followed", s.label())
		return &exitCodeError{exitPlatform, nil}
	}
	ctx, stop := s.untilSignal(ctx)
	defer stop()
	status, raw, err := s.status(ctx)
	if err != nil {
		return s.lost(ctx, err)
	}
	code := exitOf(status)
	where, failed := s.collect(ctx, status)
	s.last(status, where)
	if err := s.printEnd(status, raw); err != nil {
		return err
	}
	var interrupted *interruptError
	if errors.As(failed, &interrupted) {
		failed, code = nil, exitInterrupted
		s.console.fail("interrupted; the outputs were not stored here; try: %s cp %s %s",
			s.program(), short(s.id), s.flags.out)
	}
	if failed != nil {
		s.console.fail("the outputs were not stored here; try: %s cp %s %s", s.program(), short(s.id), s.flags.out)
		return &exitCodeError{platformUnless(code), failed}
	}
	if code == 0 {
		return nil
	}
	return &exitCodeError{code, nil}
}

// platformUnless is the exit code of a run whose outputs could not be stored: the program's, if that
// failed.
func platformUnless(code int) int {
	if code == 0 {
		return exitPlatform
	}
	return code
}

// collect stores the outputs in the folder that --out names. where says where they are, for the last
// line.
func (s *session) collect(ctx context.Context, status *job.Status) (where string, err error) {
	if status.Outputs == nil || s.flags.out == "" && s.console.quiet {
		return "", nil
	}
	source := download.Source{Client: s.client, ID: s.id, Token: s.accepted.Token}
	options := download.Options{Patience: s.flags.unreachable, Retrying: s.console.sayRetry, Reached: true}
	if s.flags.out == "" {
		if status.Outputs.Count <= logFiles {
			return "", nil
		}
		// Only to say what there is: that it cannot be listed now does not matter.
		files, err := source.List(ctx, download.Options{Patience: time.Second})
		if err != nil {
			return "", nil //nolint:nilerr // see above
		}
		return s.notStored(files), nil
	}
	files, err := source.List(ctx, options)
	if err != nil {
		return "", err
	}
	var targets []download.Target
	var total int64
	for _, file := range files {
		if !download.IsLog(file.Name) {
			targets = append(targets, download.Target{File: file, As: file.Name})
			total += file.Size
		}
	}
	bar := s.console.newBar("downloading", total)
	options.Progress = func(done, _ int64) { bar.sent(done) }
	saved, err := source.Save(ctx, s.flags.out, targets, options)
	bar.end()
	switch {
	case err != nil:
		return "", err
	case len(saved) == 0:
		return " · no outputs", nil
	case len(saved) == 1:
		return fmt.Sprintf(" · %s (%s) → %s", saved[0].Name, size(saved[0].Size), relative(saved[0].Path)), nil
	}
	return fmt.Sprintf(" · %s (%s) → %s", count(len(saved), "output"), size(total),
		relative(s.flags.out)+string(filepath.Separator)), nil
}

// logFiles is how many logs are among the outputs of every job.
const logFiles = 2

// notStored says which outputs there are on the server only.
func (s *session) notStored(files []job.File) string {
	var names []string
	var total int64
	for _, file := range files {
		if !download.IsLog(file.Name) {
			names = append(names, file.Name)
			total += file.Size
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" · %s (%s): %s cp %s .", names[0], size(total), s.program(), short(s.id))
	}
	return fmt.Sprintf(" · %s (%s): %s cp %s DIR", count(len(names), "output"), size(total), s.program(), short(s.id))
}

// status gets the job as it is now.
func (s *session) status(ctx context.Context) (*job.Status, json.RawMessage, error) {
	var status job.Status
	var raw json.RawMessage
	err := s.follower.Retry(ctx, func(ctx context.Context, _ func()) (err error) {
		status = job.Status{}
		raw, err = s.client.JSON(ctx, client.Call{Method: http.MethodGet, Path: s.path()}, &status)
		return err
	})
	return &status, raw, err
}

// exitOf is the exit code of run for a job that is over.
func exitOf(s *job.Status) int {
	switch {
	case s.Phase == job.Succeeded:
		return 0
	case s.Phase == job.Cancelled:
		return exitInterrupted
	case s.Reason == job.ReasonDeadlineExceeded:
		return exitDeadline
	case s.Reason == job.ReasonOOMKilled:
		return exitMemory
	case s.Reason == job.ReasonError && s.ExitCode != nil && *s.ExitCode > 0 && *s.ExitCode < 256:
		return *s.ExitCode
	}
	return exitPlatform
}

// last says how the job ended.
func (s *session) last(status *job.Status, where string) {
	if !s.said { // a job that was quick, and wrote nothing
		s.console.say("%s", s.label())
	}
	if names, n := notCollectedFiles(status); n > 0 {
		s.console.warn("%s not stored, because not in $OUTPUT_DIR: %s", counted(n, "file was", "files were"), some(names, n))
	}
	if o := status.Outputs; o != nil && o.OmittedCount > 0 {
		var names []string
		for _, omitted := range o.Omitted {
			names = append(names, omitted.Name+" ("+omitted.Reason+")")
		}
		s.console.warn("%s not stored: %s", counted(o.OmittedCount, "output was", "outputs were"),
			some(names, o.OmittedCount))
	}
	text := ended(s.console, status)
	if status.Phase == job.Succeeded {
		s.console.say("%s%s", text, where)
		return
	}
	// A fault of the platform is an error of gojob's, one of the program itself is not.
	print := s.console.say
	if exitOf(status) == exitPlatform {
		print = s.console.fail
	}
	print("%s%s", text, where)
	if advice := s.advice(status); advice != "" {
		print("try: %s", advice)
	}
}

// notCollectedFiles are the files that were left behind and may be missed: not those that interpreters
// and installers write.
func notCollectedFiles(s *job.Status) (names []string, n int) {
	if s.NotCollected == nil {
		return nil, 0
	}
	n = s.NotCollected.Count
	for _, name := range s.NotCollected.Names {
		switch path.Base(name) {
		case "__pycache__", ".venv", "node_modules":
			n--
		default:
			names = append(names, name)
		}
	}
	return names, n
}

// ended says how a job has ended, and why.
func ended(c *console, status *job.Status) painted {
	took := ""
	if status.StartedAt != nil && status.FinishedAt != nil {
		took = lasted(status.FinishedAt.Sub(*status.StartedAt))
	}
	switch status.Phase {
	case job.Succeeded:
		return c.paint(green, "succeeded") + painted(before(" in ", took))
	case job.Cancelled:
		return c.paint(yellow, "cancelled") + painted(before(" after ", took))
	}
	why := string(status.Reason)
	if status.Reason == job.ReasonError && status.ExitCode != nil {
		why = exitText(status)
	} else if status.Message != "" {
		why += ": " + status.Message
	}
	why = strings.ReplaceAll(harmless(strings.TrimSpace(why)), "\n", "\n  ")
	tries := ""
	if n := len(status.Attempts); n > 1 {
		tries = count(n, "attempt")
	}
	return c.paint(red, "failed") + painted(before(" after ", took)+before(" · ", tries)+before(" · ", why))
}

func before(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

func exitText(s *job.Status) string {
	text := fmt.Sprintf("exit code %d", *s.ExitCode)
	if n := len(s.Attempts); n > 0 && s.Attempts[n-1].Signal != "" {
		text += " (" + s.Attempts[n-1].Signal + ")"
	}
	return text
}

// advice says what to do about a failure, or "".
func (s *session) advice(status *job.Status) string {
	id := short(status.JobID)
	switch status.Reason {
	case job.ReasonDeadlineExceeded:
		return fmt.Sprintf("a longer --timeout than %s", time.Duration(status.TimeoutSeconds)*time.Second)
	case job.ReasonOOMKilled:
		if status.Memory == "" {
			return "--memory, with more than the server gives by default"
		}
		return "more --memory than " + status.Memory
	case job.ReasonDependenciesFailed:
		return fmt.Sprintf("%s cp %s:%s -", s.program(), id, job.PrepareLogFile)
	case job.ReasonEvicted:
		return "to write less into the working directory"
	case job.ReasonInterrupted, job.ReasonNodeLost, job.ReasonPreempted, job.ReasonFetchFailed, job.ReasonStartFailed:
		return fmt.Sprintf("%s rerun %s, or --retries 3 --retry-on %s", s.program(), id, status.Reason)
	case job.ReasonCannotRun:
		return "--runtime or --entrypoint"
	}
	return ""
}

// counted is a number and the word for what it counts.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// some joins the first names of a list that has count in all.
func some(names []string, count int) string {
	const most = 5
	if len(names) > most {
		names = names[:most]
	}
	text := strings.Join(names, ", ")
	if rest := count - len(names); rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}

// lasted is a duration as people read it: 1.3s, 2m 05s, 3h 20m.
func lasted(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", max(d, 0).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
}
