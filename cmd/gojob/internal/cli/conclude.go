package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/follow"
	"go-job-orchestrator/shared/job"
)

// conclude ends the run of a job that is over: outputs, last words, exit code.
func (s *session) conclude(ctx context.Context, end *follow.End) error {
	if end.Removed {
		s.console.fail("%s · was removed while it was followed", s.label())
		return &exitCodeError{exitPlatform, nil}
	}
	status, raw, err := s.status(ctx)
	if err != nil {
		return s.lost(ctx, err)
	}
	code := exitOf(status)
	s.last(status)
	if err := s.printEnd(status, raw); err != nil {
		return err
	}
	if code == 0 {
		return nil
	}
	return &exitCodeError{code, nil}
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
func (s *session) last(status *job.Status) {
	if n := status.NotCollected; n != nil {
		s.console.warn("%s not stored, because not in $OUTPUT_DIR: %s", counted(n.Count, "file was", "files were"),
			some(n.Names, n.Count))
	}
	if o := status.Outputs; o != nil && o.OmittedCount > 0 {
		var names []string
		for _, omitted := range o.Omitted {
			names = append(names, omitted.Name+" ("+omitted.Reason+")")
		}
		s.console.warn("%s not stored: %s", counted(o.OmittedCount, "output was", "outputs were"), some(names, o.OmittedCount))
	}
	text := ended(s.console, status)
	if status.Phase == job.Succeeded {
		s.console.say("%s%s", text, s.outputs(status))
		return
	}
	// A fault of the platform is an error of gojob's, one of the program itself is not.
	print := s.console.say
	if exitOf(status) == exitPlatform {
		print = s.console.fail
	}
	print("%s", text)
	if advice := s.advice(status); advice != "" {
		print("try: %s", advice)
	}
}

// outputs says where the outputs of a job are.
func (s *session) outputs(status *job.Status) string {
	return ""
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
	return c.paint(red, "failed") + painted(before(" after ", took)+before(" · ", why))
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
		return fmt.Sprintf("a longer --timeout than %ds", status.TimeoutSeconds)
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
