package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/follow"
)

// logFlags are the flags of logs.
type logFlags struct {
	follow, timestamps  bool
	tail, since, stream string
	attempt             int
	unreachable         time.Duration
}

func (a *app) logsCommand() *cobra.Command {
	var f logFlags
	c := &cobra.Command{
		Use:   "logs [flags] JOB",
		Short: "Show what a job wrote, or follow it",
		Long: `Shows what a job has written: its stdout on stdout, its stderr on stderr, byte for byte. Without -f
it shows what there is. With -f it waits for a job that has not started, goes on where it was after
every cut of the connection, and ends with the job. The exit code says whether the log could be
read, not how the job ended; see wait.`,
		Example: "  gojob logs -f @\n  gojob logs --tail 20 --timestamps train",
		Args:    arguments("JOB", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.logs(cmd.Context(), f, args[0])
		},
		ValidArgsFunction: once(a.jobRefs()),
	}
	flags := c.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "follow the log until the job is over")
	flags.StringVar(&f.tail, "tail", "all", "show the last `LINES` only; all for everything")
	flags.StringVar(&f.since, "since", "", "show what was written since a `TIME`: how long ago, such as 10m, or RFC 3339")
	flags.BoolVar(&f.timestamps, "timestamps", false, "begin each line with the time of its writing (UTC)")
	flags.StringVar(&f.stream, "stream", "", "show one `STREAM` only: stdout or stderr")
	flags.IntVar(&f.attempt, "attempt", 0, "show one attempt only, by its `NUMBER`")
	flags.DurationVar(&f.unreachable, "unreachable-timeout", unreachableTimeout,
		"give up when the server does not answer for this `DURATION`")
	return c
}

func (a *app) logs(ctx context.Context, f logFlags, ref string) error {
	q, err := f.query(a.now())
	if err != nil {
		return err
	}
	c, id, err := a.find(ctx, ref)
	if err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	console := a.console(false)
	sink := &logSink{
		stdout: stamped(a.stdout, f.timestamps), stderr: stamped(a.stderr, f.timestamps),
	}
	giveUp := f.unreachable
	if !f.follow {
		giveUp = min(giveUp, 30*time.Second)
	}
	t := troubleTeller{console: console, server: c.Server(), giveUp: giveUp}
	end, err := follow.New(c, follow.Options{GiveUp: giveUp, Trouble: t.tell}).Log(ctx, id, q, sink)
	var lost *follow.LostError
	var interrupted *interruptError
	switch {
	case pipeClosed(err):
		return &exitCodeError{exitPipe, nil}
	case errors.As(err, &interrupted):
		return &exitCodeError{exitInterrupted, nil}
	case errors.As(err, &lost):
		return &client.UnreachableError{Server: c.Server(), Err: err}
	case err == nil && end != nil && end.Removed:
		return fmt.Errorf("the job %s was removed while it was followed", short(id))
	}
	return err
}

// query reads the flags. now is what relative times count from, once: the connection may be made anew.
func (f *logFlags) query(now time.Time) (follow.Query, error) {
	q := follow.Query{Tail: follow.All, Stream: f.stream, Attempt: f.attempt, Follow: f.follow}
	if f.tail != "all" && f.tail != "-1" {
		n, err := strconv.ParseUint(f.tail, 10, 31)
		if err != nil {
			return q, usagef("--tail %.40q: give a number of lines, or all", f.tail)
		}
		q.Tail = int(n)
	}
	if f.stream != "" && f.stream != "stdout" && f.stream != "stderr" {
		return q, usagef("--stream %.40q: there are stdout and stderr", f.stream)
	}
	if f.attempt < 0 {
		return q, usagef("--attempt %d: attempts are counted from 1", f.attempt)
	}
	if f.since == "" {
		return q, nil
	}
	if ago, err := duration(f.since); err == nil && ago >= 0 {
		q.Since = now.Add(-ago)
		return q, nil
	}
	at, err := time.Parse(time.RFC3339, f.since)
	if err != nil || at.Unix() <= 0 {
		return q, usagef("--since %.40q: give how long ago, such as 90s, 10m or 2h, or a time such as 2026-01-31T08:00:00Z",
			f.since)
	}
	q.Since = at
	return q, nil
}

// logSink shows a log.
type logSink struct{ stdout, stderr *stampedWriter }

func (s *logSink) Write(stream string, at time.Time, data []byte) error {
	if stream == "stderr" {
		return s.stderr.write(at, data)
	}
	return s.stdout.write(at, data)
}

func (*logSink) Attempt(int) error { return nil }

// stampedWriter begins each line with its time.
type stampedWriter struct {
	out    io.Writer
	stamps bool
	inLine bool // what was written last did not end its line
	buffer []byte
}

func stamped(out io.Writer, stamps bool) *stampedWriter {
	return &stampedWriter{out: out, stamps: stamps}
}

// stampFormat is RFC 3339 with microseconds, always of the same width, as the server writes it.
const stampFormat = "2006-01-02T15:04:05.000000Z"

func (w *stampedWriter) write(at time.Time, data []byte) error {
	if !w.stamps {
		_, err := w.out.Write(data)
		return err
	}
	stamp := "- " // logs of earlier versions have no times
	if !at.IsZero() {
		stamp = at.UTC().Format(stampFormat) + " "
	}
	w.buffer = w.buffer[:0]
	for _, b := range data {
		if !w.inLine {
			w.buffer = append(w.buffer, stamp...)
		}
		w.buffer = append(w.buffer, b)
		w.inLine = b != '\n'
	}
	_, err := w.out.Write(w.buffer)
	return err
}
