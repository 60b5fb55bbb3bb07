package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// list measures how long the newest jobs take to list where there are many, and where there are
// few.
func list(ctx context.Context, r *room) ([]line, error) {
	many, err := r.listing(ctx, 100_000)
	if err != nil {
		return nil, err
	}
	few, err := r.listing(ctx, 1_000)
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx, many, few)
	if err != nil {
		return nil, err
	}
	return c.lines(figure{what: "newest 50 of 100,000 jobs", against: "of 1,000", rival: 1, unit: milliseconds,
		limit: 1.5}), nil
}

// listing is a contestant that lists the newest of so many jobs.
func (r *room) listing(ctx context.Context, jobs int) (contestant, error) {
	key, err := tokenKey()
	if err != nil {
		return nil, err
	}
	storage, err := r.history(ctx, jobs)
	if err != nil {
		return nil, err
	}
	p, err := r.serveFunction(ctx, "status", storage, key)
	if err != nil {
		return nil, err
	}
	client := newClient(1)
	return func(ctx context.Context) ([]float64, error) {
		return request{method: http.MethodGet, url: p.url("/api/v1/jobs?limit=50"), want: http.StatusOK}.timed(ctx, client,
			callsATurn)
	}, nil
}

// history makes a storage directory with jobs that have succeeded and are kept for a while.
func (r *room) history(ctx context.Context, jobs int) (string, error) {
	storage, err := r.folder("history-" + strconv.Itoa(jobs))
	if err != nil {
		return "", err
	}
	return storage, seed{storage}.jobs(ctx, jobs, time.Now(),
		func(ctx context.Context, l *ledger.Ledger, index *job.Index) error {
			return over(ctx, l, index, time.Now())
		})
}

// reap measures what it costs to remove what has expired where much else has not.
func reap(ctx context.Context, r *room) ([]line, error) {
	many, err := r.reaping(ctx, 99_000)
	if err != nil {
		return nil, err
	}
	few, err := r.reaping(ctx, 9_000)
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx, many, few)
	if err != nil {
		return nil, err
	}
	return c.lines(figure{what: "reap 1,000 expired among 100,000, CPU", against: "among 10,000", rival: 1,
		unit: milliseconds, limit: 1.5}), nil
}

// reaping is a contestant that removes 1,000 expired jobs from among others.
func (r *room) reaping(ctx context.Context, others int) (contestant, error) {
	storage, err := r.history(ctx, others)
	if err != nil {
		return nil, err
	}
	sink, err := r.sink(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]float64, error) {
		long := time.Now().Add(-24 * time.Hour)
		err := seed{storage}.jobs(ctx, 1_000, long, func(ctx context.Context, l *ledger.Ledger, index *job.Index) error {
			return over(ctx, l, index, long)
		})
		if err != nil {
			return nil, err
		}
		p, err := r.start(ctx, spec{path: r.command("reap"), vars: map[string]string{"STORAGE_DIR": storage, "K_SINK": sink}})
		if err != nil {
			return nil, err
		}
		if err := p.wait(); err != nil {
			return nil, err
		}
		if left, err := filepath.Glob(filepath.Join(storage, ".orchestrator", "expiry", "*", "*", "*", "*")); err != nil ||
			len(left) != others {
			return nil, errors.Join(fmt.Errorf("%d jobs are left of %d", len(left), others), err)
		}
		return []float64{p.used()}, nil
	}, nil
}
