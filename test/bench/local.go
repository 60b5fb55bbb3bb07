package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// nothing is the least a job can be.
const nothing = "/bin/true"

// localJob measures how long it takes from submitting a job that does nothing to knowing that it is
// done.
func localJob(ctx context.Context, r *room) ([]line, error) {
	tsp, err := r.spooler(ctx)
	if err != nil {
		return nil, err
	}
	p, err := r.serveAll(ctx, "storage")
	if err != nil {
		return nil, err
	}
	client := newClient(1)
	program, err := os.ReadFile(nothing)
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx, func(ctx context.Context) ([]float64, error) {
		f, err := newForm("[]")
		if err != nil {
			return nil, err
		}
		start := time.Now()
		q := f.post(p.url("/api/v1/jobs"), bytes.NewReader(program), int64(len(program)))
		q.header["Prefer"] = "wait=30"
		j, err := p.send(ctx, client, q)
		if err == nil && j.Phase != "Succeeded" {
			err = fmt.Errorf("the job is %s", j.Phase)
		}
		return []float64{millis(time.Since(start))}, err
	}, tsp)
	if err != nil {
		return nil, err
	}
	return c.lines(figure{
		what: "submit → done of " + nothing + " in one process", against: "tsp -nf", rival: 1, unit: milliseconds, limit: 3,
		missed: "two stages of sandbox are two starts of a Go program; the acceptance, the attempt and the end are " +
			"flushed to the disk",
	}), nil
}

// spooler is a contestant that runs the program with task-spooler and waits for its end.
func (r *room) spooler(ctx context.Context) (contestant, error) {
	path, err := installed(ctx, "tsp", "task-spooler")
	if err != nil {
		return nil, err
	}
	spool := func(ctx context.Context, args ...string) error {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(os.Environ(), "TS_SOCKET="+filepath.Join(r.dir, "tsp"), "TMPDIR="+r.dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("tsp: %w: %s", err, out)
		}
		return nil
	}
	r.atEnd(func() error { return spool(context.WithoutCancel(ctx), "-K") })
	return func(ctx context.Context) ([]float64, error) {
		start := time.Now()
		err := spool(ctx, "-nf", nothing)
		return []float64{millis(time.Since(start))}, err
	}, nil
}
