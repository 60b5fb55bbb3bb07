package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
)

// The load under which memory is measured.
const (
	followers   = 100
	uploads     = 50
	uploadBytes = 32 * mib
	memoryLimit = 64.0 // MiB above that of an idle server
)

// memory measures how much more memory the one process has at most while many follow a log and many
// upload than when it is idle.
func memory(ctx context.Context, r *room) ([]line, error) {
	c, err := r.contest(ctx, r.loaded)
	if err != nil {
		return nil, err
	}
	idle, peak := median(c.column(0, 0)), median(c.column(0, 1))
	return []line{{
		what: fmt.Sprintf("peak memory while %d follow and %d upload", followers, uploads), against: "idle",
		ours: mebibytes.format(peak), rival: mebibytes.format(idle), ratio: "+" + mebibytes.format(peak-idle),
		target: "≤ +" + mebibytes.format(memoryLimit), met: peak-idle <= memoryLimit, rounds: r.rounds,
	}}, nil
}

// loaded returns the memory of a new server when it is idle, and the most it has under load.
func (r *room) loaded(ctx context.Context) ([]float64, error) {
	p, err := r.serveAll(ctx, "storage")
	if err != nil {
		return nil, err
	}
	idle, err := p.resident()
	if err != nil {
		return nil, err
	}
	loadErr := r.load(ctx, p)
	peak, err := p.peak()
	_ = p.cmd.Process.Signal(os.Interrupt)
	return []float64{idle, peak}, errors.Join(loadErr, err, p.kill(), os.RemoveAll(filepath.Join(r.dir, "storage")))
}

// load has many follow the log of a job that writes, while many others upload.
func (r *room) load(ctx context.Context, p *process) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	j, err := p.submit(ctx, r.command("lines"), `["`+lineEvery+`"]`)
	if err != nil {
		return err
	}
	client := newClient(followers)
	all := make([]*delays, followers)
	for i := range all {
		body, err := j.follow(ctx, client)
		if err != nil {
			return err
		}
		all[i] = watch(body)
	}
	sender := newClient(uploads)
	sender.Transport.(*http.Transport).WriteBufferSize = 4 * kib
	err = atATime(uploads, uploads, func() error {
		f, err := newForm("[]")
		if err != nil {
			return err
		}
		content, err := newStuff()
		if err != nil {
			return err
		}
		_, err = f.post(p.url("/api/v1/jobs"), content.take(uploadBytes), uploadBytes).drain(ctx, sender)
		return err
	})
	if err != nil {
		return err
	}
	return atATime(followers, followers, each(all, func(d *delays) error { // all of them are served still
		_, err := d.next(ctx)
		return err
	}))
}

// each returns what does it with the next of all each time it is called.
func each[T any](all []T, do func(T) error) func() error {
	var next atomic.Int64
	return func() error { return do(all[next.Add(1)-1]) }
}
