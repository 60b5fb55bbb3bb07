package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/token"
)

// callsATurn is how many small calls make a turn.
const callsATurn = 10

// tail measures how long the end of a large log takes.
func tail(ctx context.Context, r *room) ([]line, error) {
	b, err := r.bucket("storage")
	if err != nil {
		return nil, err
	}
	large, err := b.log(ctx, gib)
	if err != nil {
		return nil, err
	}
	small, err := b.log(ctx, mib)
	if err != nil {
		return nil, err
	}
	p, err := r.serveFunction(ctx, "logs", b.dir, b.key)
	if err != nil {
		return nil, err
	}
	client := newClient(1)
	reading := func(id job.ID) contestant {
		return func(ctx context.Context) ([]float64, error) {
			q := request{method: http.MethodGet, url: p.url("/api/v1/jobs/" + string(id) + "/logs?tail=100"),
				token: b.keys.Derive(token.User, id), want: http.StatusOK}
			return q.timed(ctx, client, callsATurn)
		}
	}
	file := filepath.Join(b.dir, ledger.ResultKey(large, job.StdoutFile))
	c, err := r.contest(ctx, reading(large), reading(small),
		func(ctx context.Context) ([]float64, error) { return tailing(ctx, file) })
	if err != nil {
		return nil, err
	}
	const what = "last 100 lines of a log of 1 GiB"
	return c.lines(
		figure{what: what, against: "the same of 1 MiB", rival: 1, unit: milliseconds, limit: 1.5},
		figure{what: what, against: "coreutils tail", rival: 2, unit: milliseconds, limit: 1.5},
	), nil
}

// tailing runs tail as often as our calls are made.
func tailing(ctx context.Context, file string) ([]float64, error) {
	took := make([]float64, callsATurn)
	for i := range took {
		start := time.Now()
		if _, err := output(ctx, "tail", "-n", "100", file); err != nil {
			return nil, err
		}
		took[i] = millis(time.Since(start))
	}
	return []float64{median(took)}, nil
}

// log stores a job that is over and whose log has so many bytes.
func (s seed) log(ctx context.Context, size int64) (id job.ID, err error) {
	err = s.jobs(ctx, 1, time.Now(), func(ctx context.Context, l *ledger.Ledger, index *job.Index) error {
		id = index.JobID
		return over(ctx, l, index, time.Now())
	})
	if err != nil {
		return "", err
	}
	var block bytes.Buffer
	for n := 0; block.Len() < mib; n++ {
		fmt.Fprintf(&block, "%d %s\n", n, strings.Repeat("x", n%150))
	}
	repeated := &stuff{block: block.Bytes()[:mib]}
	return id, errors.Join(
		s.file(ledger.ResultKey(id, job.StdoutFile), repeated.take(size)),
		s.file(ledger.ResultKey(id, job.StderrFile), strings.NewReader("")),
	)
}

// lineEvery is the time between the lines of a program that is followed, in milliseconds; it fits
// no interval of ours.
const lineEvery = "43"

// follow measures the time from writing a line to its arrival at a follower.
func follow(ctx context.Context, r *room) ([]line, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ours, err := r.followJob(ctx)
	if err != nil {
		return nil, err
	}
	theirs, err := r.followFile(ctx)
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx, ours.next, theirs.next)
	if err != nil {
		return nil, err
	}
	return c.lines(figure{
		what: "line written → at its follower, p50", against: "tail -F", rival: 1, unit: milliseconds, limit: 5,
		missed: "a line passes through the bucket: it is a file of its own, which one writes and another reads",
	}), nil
}

// followJob has the one process run a job, and follows its log.
func (r *room) followJob(ctx context.Context) (*delays, error) {
	p, err := r.serveAll(ctx, "storage")
	if err != nil {
		return nil, err
	}
	j, err := p.submit(ctx, r.command("lines"), `["`+lineEvery+`"]`)
	if err != nil {
		return nil, err
	}
	body, err := j.follow(ctx, newClient(1))
	if err != nil {
		return nil, err
	}
	return watch(body), nil
}

// followFile has the same program write to a file, and tail -F follow that.
func (r *room) followFile(ctx context.Context) (*delays, error) {
	program, err := r.start(ctx, spec{path: r.command("lines"), args: []string{lineEvery}})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "tail", "-n", "0", "-F", program.log)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r.atEnd((&process{cmd: cmd}).kill)
	return watch(out), nil
}

// delays is how long lines with the time in them took to come.
type delays struct {
	mu   sync.Mutex
	late []float64
	err  error
}

func watch(lines io.ReadCloser) *delays {
	d := &delays{}
	go func() {
		defer lines.Close()
		scanner := bufio.NewScanner(lines)
		for scanner.Scan() {
			d.add(scanner.Text())
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.err = errors.Join(errors.New("no more lines"), scanner.Err())
	}()
	return d
}

func (d *delays) add(text string) {
	now := time.Now().UnixNano()
	written, err := strconv.ParseInt(text, 10, 64)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.late = append(d.late, float64(now-written)/1e6)
	}
}

// next returns the median of the lines to come in the next second.
func (d *delays) next(ctx context.Context) ([]float64, error) {
	d.mu.Lock()
	d.late = nil
	d.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Second):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.late) == 0 {
		return nil, errors.Join(errors.New("no line came for a second"), d.err)
	}
	return []float64{median(d.late)}, nil
}
