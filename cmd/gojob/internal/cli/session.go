package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/follow"
	"go-job-orchestrator/shared/job"
)

// session is a run of a job from its submit to its end.
type session struct {
	*app
	client  *client.Client
	console *console
	flags   runFlags
	start   start
	signals <-chan os.Signal

	id       job.ID
	accepted client.Accepted
	follower *follow.Follower
	states   states
	said     bool // the user has seen which job it is
	trouble  troubleTeller
}

func (s *session) run(ctx context.Context) error {
	if err := s.submit(ctx); err != nil {
		return err
	}
	s.remember(s.id)
	// The job's own token opens it for as long as there is the job, whatever becomes of the caller's.
	s.client = s.client.WithToken(s.accepted.Token)
	s.follower = follow.New(s.client, follow.Options{
		Reached: true, GiveUp: s.flags.unreachable, Trouble: s.trouble.tell,
	})
	s.explainAccepted()
	if s.flags.detach {
		return s.printAccepted()
	}
	return s.follow(ctx)
}

// submit sends the form. An interrupt before the form is sent ends it, and there is no job. Behind
// that the job may be accepted already: then the answer is waited for, for a moment.
func (s *session) submit(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		accepted client.Accepted
		err      error
	}
	done := make(chan result, 1)
	s.console.sayLarge(s.start.form)
	bar := s.uploadBar(s.start.form)
	options := client.SubmitOptions{
		Key: client.NewKey(), Progress: bar.sent, Retrying: s.console.sayRetry, Patience: s.flags.unreachable,
	}
	go func() {
		accepted, err := s.client.Submit(ctx, s.start.path, s.start.form, options)
		done <- result{accepted, err}
	}()
	var patience <-chan time.Time
	interrupted := false
	for {
		select {
		case r := <-done:
			bar.end()
			if r.err != nil && interrupted {
				return s.notAccepted(r.err)
			}
			if r.err != nil {
				return s.refused(r.err)
			}
			if interrupted {
				return s.acceptedLate(ctx, r.accepted)
			}
			s.accepted, s.id = r.accepted, r.accepted.JobID
			return nil
		case <-s.signals:
			if !bar.whole() {
				cancel(errInterrupted)
				r := <-done
				bar.end()
				if r.err == nil {
					return s.acceptedLate(ctx, r.accepted)
				}
				return s.notAccepted(r.err)
			}
			if interrupted {
				cancel(errInterrupted)
			}
			interrupted = true
			patience = time.After(5 * time.Second)
		case <-patience:
			cancel(errInterrupted)
		}
	}
}

// acceptedLate ends a submit that was interrupted when the job was accepted already.
func (s *session) acceptedLate(ctx context.Context, accepted client.Accepted) error {
	s.accepted, s.id = accepted, accepted.JobID
	s.remember(s.id)
	return s.detachOrCancel(context.WithoutCancel(ctx), os.Interrupt)
}

var errInterrupted = errors.New("interrupted")

// notAccepted ends a submit that was interrupted.
func (s *session) notAccepted(err error) error {
	var unsure *client.UnsureError
	if errors.As(err, &unsure) {
		s.console.fail("interrupted before the answer came; the job may have been accepted. See: %s ls", s.program())
	} else {
		s.console.fail("interrupted; nothing was submitted")
	}
	return &exitCodeError{exitInterrupted, nil}
}

// refused makes the error of a submit.
func (s *session) refused(err error) error {
	var answer *client.Error
	if errors.As(err, &answer) {
		faults := make([]job.Fault, len(answer.Faults))
		for i, fault := range answer.Faults {
			faults[i] = job.Fault{Field: flagOf(fault.Field), Message: fault.Message}
			answer.Detail = strings.Replace(answer.Detail, fault.Field+": ", faults[i].Field+": ", 1)
		}
		answer.Faults = faults
	}
	if answer != nil && s.start.misplaced != "" {
		err = fmt.Errorf("%w; %s stands behind the name, so it belongs to the program: gojob's flags go before it", err,
			s.start.misplaced)
	}
	return &exitCodeError{exitPlatform, err}
}

// label names the job in messages, such as "words · fe5ddbd91522".
func (s *session) label() string {
	if s.start.name != "" {
		return s.start.name + " · " + short(s.id)
	}
	return short(s.id)
}

// explainAccepted says what the server warns of, and what it found out by itself.
func (s *session) explainAccepted() {
	for _, warning := range s.accepted.Warnings {
		s.console.warn("%s", warning)
	}
	if i := s.accepted.Inferred; i != nil && i.Entrypoint != "" {
		text := i.Entrypoint
		if i.Runtime != "" {
			text += " with " + i.Runtime
		}
		s.console.say("runs %s", text)
	}
}

// printAccepted prints the answer of a submit: the ID, for scripts, unless -o says otherwise.
func (s *session) printAccepted() error {
	s.console.say("%s · submitted", s.label())
	if s.flags.output.machine() {
		return s.flags.output.object(s.stdout, s.accepted.Raw)
	}
	_, err := fmt.Fprintln(s.stdout, s.id)
	return err
}

// printEnd prints the job as it ended.
func (s *session) printEnd(status *job.Status, raw json.RawMessage) error {
	switch o := &s.flags.output; {
	case o.format == "":
		return nil
	case o.machine():
		return o.object(s.stdout, raw)
	case o.format == formatName:
		_, err := fmt.Fprintln(s.stdout, s.id)
		return err
	default:
		return s.describe(*status, o.format == formatWide)
	}
}

// follow shows the log until the job is over or gojob is interrupted.
func (s *session) follow(ctx context.Context) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	stdout := s.stdout
	if s.flags.output.format != "" {
		stdout = s.stderr
	}
	sink := &runSink{session: s, stdout: s.console.output(stdout), stderr: s.console.output(s.stderr)}
	type result struct {
		end *follow.End
		err error
	}
	done := make(chan result, 1)
	go func() {
		end, err := s.follower.Log(following, s.id, follow.Query{Tail: follow.All, Follow: true}, sink)
		done <- result{end, err}
	}()
	watched := make(chan struct{})
	go func() { s.watch(following); close(watched) }()
	select {
	case r := <-done:
		stop()
		<-watched
		sink.end(r.end)
		s.said = s.states.end()
		s.console.show("")
		if r.err != nil {
			return s.lost(ctx, r.err)
		}
		return s.conclude(ctx, r.end)
	case signal := <-s.signals:
		stop()
		<-watched
		s.said = s.states.end()
		s.console.show("")
		return s.detachOrCancel(ctx, signal)
	}
}

// lost ends a run whose end is not known.
func (s *session) lost(ctx context.Context, err error) error {
	if pipeClosed(err) {
		return s.unread(ctx)
	}
	var interrupted *interruptError
	if errors.As(err, &interrupted) {
		return &exitCodeError{exitInterrupted, nil}
	}
	s.console.fail("the job goes on, as far as is known; follow it: %s logs -f %s", s.program(), short(s.id))
	return &exitCodeError{exitPlatform, err}
}

// unread ends a run whose output nobody reads any more. The job goes on, unless it is over already.
func (s *session) unread(ctx context.Context) error {
	if s.flags.cancelOnExit {
		_ = s.cancel(ctx)
		return &exitCodeError{exitPipe, nil}
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	if status, _, err := s.status(ctx); err != nil || !status.Phase.Terminal() {
		s.console.say("nobody reads the output any more; the job goes on: %s logs -f %s", s.program(), short(s.id))
	}
	return &exitCodeError{exitPipe, nil}
}

// runSink shows the log of a run.
type runSink struct {
	session        *session
	stdout, stderr io.Writer

	mu   sync.Mutex
	held int // the attempt that is not said yet; 0: none
}

// holdAttempt is how long an attempt without output is not said: one that cannot begin, because its
// packages cannot be installed, ends at once.
const holdAttempt = 300 * time.Millisecond

func (r *runSink) Write(stream string, _ time.Time, data []byte) error {
	r.sayAttempt()
	out := r.stdout
	if stream == "stderr" {
		out = r.stderr
	}
	_, err := out.Write(data)
	return err
}

func (r *runSink) Attempt(n int) error {
	r.sayAttempt()
	r.mu.Lock()
	r.held = n
	r.mu.Unlock()
	time.AfterFunc(holdAttempt, r.sayAttempt)
	return nil
}

// sayAttempt says that an attempt has begun, if one is held.
func (r *runSink) sayAttempt() {
	r.mu.Lock()
	n := r.held
	r.held = 0
	r.mu.Unlock()
	if n > 0 {
		r.session.state(runningText(n), runs(n))
	}
}

// end says the attempt that is held, unless the job has ended before its program began.
func (r *runSink) end(end *follow.End) {
	if end != nil {
		switch end.Reason {
		case job.ReasonDependenciesFailed, job.ReasonFetchFailed, job.ReasonStartFailed:
			return
		}
	}
	r.sayAttempt()
}

// detachOrCancel ends a run that was interrupted by a signal.
func (s *session) detachOrCancel(ctx context.Context, signal os.Signal) error {
	if s.flags.cancelOnExit {
		return s.cancel(ctx)
	}
	again := ""
	if signal == os.Interrupt {
		again = " (Ctrl-C again within two seconds cancels it)"
	}
	s.console.fail("detached; the job %s goes on%s\n  follow: %s logs -f %s\n  cancel: %s cancel %s",
		short(s.id), again, s.program(), short(s.id), s.program(), short(s.id))
	if signal != os.Interrupt {
		return &exitCodeError{exitInterrupted, nil}
	}
	select {
	case signal := <-s.signals:
		if signal == os.Interrupt {
			return s.cancel(ctx)
		}
	case <-time.After(2 * time.Second):
	}
	return &exitCodeError{exitInterrupted, nil}
}

// quietly returns a follower that says nothing.
func (s *session) quietly() *follow.Follower {
	return follow.New(s.client, follow.Options{Reached: true, GiveUp: s.flags.unreachable})
}

// cancel cancels the job. Another interrupt ends the waiting for it.
func (s *session) cancel(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-s.signals:
			stop(errors.New("interrupted; the job may go on"))
		case <-ctx.Done():
		}
	}()
	_, err := s.post(ctx, "cancel")
	var answer *client.Error
	switch {
	case err == nil:
		s.console.fail("%s · cancelled", s.label())
	case errors.As(err, &answer) && answer.Status == http.StatusConflict:
		s.console.fail("%s · was over already", s.label())
	default:
		s.console.fail("the job could not be cancelled; try: %s cancel %s", s.program(), short(s.id))
		return &exitCodeError{exitInterrupted, err}
	}
	return &exitCodeError{exitInterrupted, nil}
}

// post makes a call about the job that changes it, again if the line is cut.
func (s *session) post(ctx context.Context, what string) (raw json.RawMessage, err error) {
	f := follow.New(s.client, follow.Options{Reached: true, GiveUp: 30 * time.Second})
	err = f.Retry(ctx, func(ctx context.Context, _ func()) error {
		raw, err = s.client.JSON(ctx, client.Call{Method: http.MethodPost, Path: s.path() + "/" + what}, nil)
		return err
	})
	return raw, err
}

func (s *session) path() string { return "/api/v1/jobs/" + string(s.id) }

// program is how the user calls gojob.
func (a *app) program() string { return "gojob" }
