package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/follow"
	"go-job-orchestrator/shared/job"
)

// maxWaiting bounds how many jobs are waited for at the same time. Each holds a request.
const maxWaiting = 16

func (a *app) waitCommand() *cobra.Command {
	var o output
	var quiet bool
	var unreachable time.Duration
	c := &cobra.Command{
		Use:   "wait JOB…",
		Short: "Wait until jobs are over",
		Long: `Waits until all jobs are over, and says on stderr how each has ended. With -o json each job is printed
to stdout when it is over, one object a line. The exit code is 0 only if all have succeeded, and
else 1.`,
		Example: "  gojob wait @\n  gojob wait fe5ddbd91522 train && gojob cp train model.bin",
		Args:    arguments("JOB", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.wait(cmd.Context(), args, &o, quiet, unreachable)
		},
		ValidArgsFunction: a.jobRefs(),
	}
	o.optional(c, formatName, formatJSON, formatYAML)
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing of gojob's own but errors")
	c.Flags().DurationVar(&unreachable, "unreachable-timeout", unreachableTimeout,
		"give up when the server does not answer for this `DURATION`")
	return c
}

// waiting is one use of wait.
type waiting struct {
	*app
	client   *client.Client
	console  *console
	follower *follow.Follower
	output   *output
	mu       sync.Mutex // of stdout
}

func (a *app) wait(ctx context.Context, refs []string, o *output, quiet bool, giveUp time.Duration) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	ids := make([]job.ID, len(refs))
	for i, ref := range refs {
		if ids[i], err = a.resolve(ctx, c, ref); err != nil {
			return err
		}
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	w := &waiting{app: a, client: c, console: a.console(quiet), output: o}
	t := troubleTeller{console: w.console, server: c.Server(), giveUp: giveUp}
	w.follower = follow.New(c, follow.Options{GiveUp: giveUp, Trouble: t.tell})
	faults, slots := make([]error, len(ids)), make(chan struct{}, maxWaiting)
	var all sync.WaitGroup
	for i, id := range ids {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			faults[i] = w.one(ctx, id)
		})
	}
	all.Wait()
	return waitResult(faults)
}

var errNotSucceeded = errors.New("not succeeded")

// waitResult is the error of wait: faults first, then that a job has not succeeded, which was said.
func waitResult(faults []error) error {
	var real []error
	failed := false
	for _, err := range faults {
		var interrupted *interruptError
		switch {
		case errors.As(err, &interrupted):
			return &exitCodeError{exitInterrupted, nil}
		case pipeClosed(err):
			return &exitCodeError{exitPipe, nil}
		case errors.Is(err, errNotSucceeded):
			failed = true
		case err != nil:
			real = append(real, err)
		}
	}
	if len(real) > 0 {
		return joined(real)
	}
	if failed {
		return &exitCodeError{exitError, nil}
	}
	return nil
}

// one waits for a job.
func (w *waiting) one(ctx context.Context, id job.ID) error {
	var status job.Status
	var raw json.RawMessage
	for !status.Phase.Terminal() {
		call := client.Call{Method: http.MethodGet, Path: "/api/v1/jobs/" + string(id), Header: http.Header{
			"Prefer": {"wait=30"}, // well below what proxies take for dead
		}}
		begun := time.Now()
		err := w.follower.Retry(ctx, func(ctx context.Context, alive func()) (err error) {
			ctx, cancel := context.WithTimeoutCause(ctx, 75*time.Second, errors.New("the connection is dead"))
			defer cancel()
			status = job.Status{}
			raw, err = w.client.JSON(ctx, call, &status)
			return w.temporary(ctx, err)
		})
		if err != nil {
			var lost *follow.LostError
			if errors.As(err, &lost) {
				return &client.UnreachableError{Server: w.client.Server(), Err: err}
			}
			return err
		}
		if !status.Phase.Terminal() && time.Since(begun) < time.Second {
			if err := pause(ctx, time.Second); err != nil { // the server does not wait
				return err
			}
		}
	}
	return w.tell(&status, raw)
}

// temporary makes the end of one try an error that another try may mend.
func (w *waiting) temporary(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return &client.UnreachableError{Server: w.client.Server(), Err: err}
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tell says how a job has ended.
func (w *waiting) tell(status *job.Status, raw json.RawMessage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	label := short(status.JobID)
	if status.Name != "" {
		label = status.Name + " · " + label
	}
	w.console.say("%s · %s", label, ended(w.console, status))
	var err error
	switch {
	case w.output.machine():
		err = w.output.object(w.stdout, raw)
	case w.output.format == formatName:
		_, err = fmt.Fprintln(w.stdout, status.JobID)
	}
	if err == nil && status.Phase != job.Succeeded {
		err = errNotSucceeded
	}
	return err
}
