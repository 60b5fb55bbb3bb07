package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
)

// serveAll starts the one process with a storage directory of its own.
func (r *room) serveAll(ctx context.Context, name string) (*process, error) {
	storage, err := r.folder(name)
	if err != nil {
		return nil, err
	}
	return r.serve(ctx, spec{path: r.command("all"), vars: map[string]string{"STORAGE_DIR": storage,
		"MAX_CONCURRENT_JOBS": "1"}})
}

// submitted is a job as its submit was answered.
type submitted struct {
	server *process
	ID     string `json:"jobID"`
	Token  string `json:"token"`
	Phase  string `json:"phase"`
}

// submit sends a program to be run.
func (p *process) submit(ctx context.Context, program, args string) (*submitted, error) {
	f, err := newForm(args)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(program)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return p.send(ctx, newClient(1), f.post(p.url("/api/v1/jobs"), file, info.Size()))
}

func (p *process) send(ctx context.Context, c *http.Client, q request) (*submitted, error) {
	answer, err := q.read(ctx, c)
	if err != nil {
		return nil, err
	}
	j := &submitted{server: p}
	return j, json.Unmarshal(answer, j)
}

// follow returns the job's log from its end on, as it grows.
func (j *submitted) follow(ctx context.Context, c *http.Client) (io.ReadCloser, error) {
	q := request{method: http.MethodGet, url: j.server.url("/api/v1/jobs/" + j.ID + "/logs?follow=true&tail=0"),
		token: j.Token, want: http.StatusOK}
	return q.do(ctx, c)
}
