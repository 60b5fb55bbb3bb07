package main

import (
	"context"
	"errors"
	"os"
)

// upload measures what a submit of 1 GiB costs the server.
func upload(ctx context.Context, r *room) ([]line, error) {
	key, err := tokenKey()
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx,
		func(ctx context.Context) ([]float64, error) {
			return r.uploadOnce(ctx, func(storage string) (*process, error) {
				return r.serveFunction(ctx, "submit", storage,
					key)
			})
		},
		func(ctx context.Context) ([]float64, error) {
			return r.uploadOnce(ctx, func(storage string) (*process, error) {
				return r.serve(ctx, spec{path: r.command("gin"), vars: map[string]string{"STORAGE_DIR": storage}})
			})
		},
	)
	if err != nil {
		return nil, err
	}
	return c.lines(
		figure{what: "multipart upload of 1 GiB, CPU", against: "Gin FormFile", rival: 1, index: 0, unit: seconds,
			limit: 0.7},
		figure{what: "multipart upload of 1 GiB, peak memory", against: "Gin FormFile", rival: 1, index: 1, unit: mebibytes,
			limit: 0.1},
	), nil
}

// uploadOnce has a new server take 1 GiB and returns its CPU time and the most memory it had.
func (r *room) uploadOnce(ctx context.Context, start func(storage string) (*process, error)) ([]float64, error) {
	storage, err := r.folder("storage")
	if err != nil {
		return nil, err
	}
	p, err := start(storage)
	if err != nil {
		return nil, err
	}
	content, err := newStuff()
	if err != nil {
		return nil, err
	}
	f, err := newForm("[]")
	if err != nil {
		return nil, err
	}
	before, err := p.cpu()
	if err != nil {
		return nil, err
	}
	if _, err := f.post(p.url("/api/v1/jobs"), content.take(gib), gib).drain(ctx, newClient(1)); err != nil {
		return nil, err
	}
	after, cpuErr := p.cpu()
	peak, err := p.peak()
	return []float64{after - before, peak}, errors.Join(cpuErr, err, p.kill(), os.RemoveAll(storage))
}
