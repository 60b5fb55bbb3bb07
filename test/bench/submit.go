package main

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// What a turn of submits is: so many from so many clients at a time.
const (
	submitsATurn  = 400
	submitClients = 16
)

// submits measures how many small programs are accepted in a second. Ours are on the disk, recorded
// and announced then; the rival has written a file, perhaps.
func submits(ctx context.Context, r *room) ([]line, error) {
	key, err := tokenKey()
	if err != nil {
		return nil, err
	}
	storage, err := r.folder("storage")
	if err != nil {
		return nil, err
	}
	ours, err := r.serveFunction(ctx, "submit", storage, key)
	if err != nil {
		return nil, err
	}
	files, err := r.folder("gin")
	if err != nil {
		return nil, err
	}
	gin, err := r.serve(ctx, spec{path: r.command("gin"), vars: map[string]string{"STORAGE_DIR": files}})
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx, submitting(ours), submitting(gin))
	if err != nil {
		return nil, err
	}
	return c.lines(figure{
		what: "submits of 1 KiB, durable, recorded, announced", against: "Gin that writes the file", rival: 1,
		unit: perSecond, limit: 1, atLeast: true,
		missed: "a submit is five small files and three flushes to the disk before the answer, the rival one file that " +
			"may be lost with the machine",
	}), nil
}

// submitting is a contestant that takes many submits at a time.
func submitting(p *process) contestant {
	client := newClient(submitClients)
	return func(ctx context.Context) ([]float64, error) {
		f, err := newForm("[]")
		if err != nil {
			return nil, err
		}
		program := bytes.Repeat([]byte("x"), kib)
		start := time.Now()
		err = atATime(submitClients, submitsATurn, func() error {
			_, err := f.post(p.url("/api/v1/jobs"), bytes.NewReader(program), kib).drain(ctx, client)
			return err
		})
		return []float64{submitsATurn / time.Since(start).Seconds()}, err
	}
}

// atATime calls do n times, from so many goroutines.
func atATime(goroutines, n int, do func() error) error {
	failed := make(chan error, goroutines)
	for i := range goroutines {
		go func() {
			var err error
			for done := i; done < n && err == nil; done += goroutines {
				err = do()
			}
			failed <- err
		}()
	}
	var errs []error
	for range goroutines {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}
