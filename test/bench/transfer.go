package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/token"
)

// transferred returns a contestant that makes a call and returns the CPU time that it costs the
// server.
func transferred(p *process, make func() (request, error), size int64) contestant {
	client := newClient(1)
	return func(ctx context.Context) ([]float64, error) {
		q, err := make()
		if err != nil {
			return nil, err
		}
		before, err := p.cpu()
		if err != nil {
			return nil, err
		}
		n, err := q.drain(ctx, client)
		if err != nil {
			return nil, err
		}
		if q.body == nil && n != size {
			return nil, fmt.Errorf("%s answers with %d bytes", q.url, n)
		}
		after, err := p.cpu()
		return []float64{after - before}, err
	}
}

// put measures what it costs to take a job's output of 1 GiB from its agent, with its checksum and
// on the disk.
func put(ctx context.Context, r *room) ([]line, error) {
	b, err := r.bucket("storage")
	if err != nil {
		return nil, err
	}
	index, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	ours, err := r.serveFunction(ctx, "artifacts", b.dir, b.key)
	if err != nil {
		return nil, err
	}
	nginx, err := r.nginx(ctx)
	if err != nil {
		return nil, err
	}
	putting := func(url, token string) func() (request, error) {
		return func() (request, error) {
			content, err := newStuff()
			if err != nil {
				return request{}, err
			}
			return request{method: http.MethodPut, url: url, token: token, body: content.take(gib), size: gib,
				want: http.StatusCreated}, nil
		}
	}
	c, err := r.contest(ctx,
		transferred(ours, putting(ours.url("/artifacts/"+string(index.JobID)+"/upload/big"),
			b.keys.Derive(token.Agent, index.JobID)), gib),
		func(ctx context.Context) ([]float64, error) { // overwriting is another status
			name := strconv.FormatInt(time.Now().UnixNano(), 10)
			figures, err := transferred(nginx, putting(nginx.url("/"+name), ""), gib)(ctx)
			return figures, errors.Join(err, os.Remove(filepath.Join(r.dir, "nginx", name)))
		},
	)
	if err != nil {
		return nil, err
	}
	return c.lines(figure{what: "PUT of 1 GiB, CPU", against: "nginx, dav module", rival: 1, unit: seconds, limit: 1.1,
		missed: "we make the SHA-256 that users verify outputs by",
	}), nil
}

// get measures what it costs to send an output of 1 GiB to its user.
func get(ctx context.Context, r *room) ([]line, error) {
	b, err := r.bucket("storage")
	if err != nil {
		return nil, err
	}
	var id job.ID
	err = b.jobs(ctx, 1, time.Now(), func(ctx context.Context, l *ledger.Ledger, index *job.Index) error {
		id = index.JobID
		if err := l.PutOutputs(ctx, id, []job.File{{Name: "big", Size: gib}}); err != nil {
			return err
		}
		return over(ctx, l, index, time.Now())
	})
	if err != nil {
		return nil, err
	}
	content, err := newStuff()
	if err != nil {
		return nil, err
	}
	if err := b.file(ledger.ResultKey(id, "big"), content.take(gib)); err != nil {
		return nil, err
	}
	ours, err := r.serveFunction(ctx, "outputs", b.dir, b.key)
	if err != nil {
		return nil, err
	}
	nginx, err := r.nginx(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.Link(filepath.Join(b.dir, ledger.ResultKey(id, "big")),
		filepath.Join(r.dir, "nginx", "big")); err != nil {
		return nil, err
	}
	getting := func(url, token string) func() (request, error) {
		return func() (request, error) {
			return request{method: http.MethodGet, url: url, token: token, want: http.StatusOK}, nil
		}
	}
	c, err := r.contest(ctx,
		transferred(ours, getting(ours.url("/outputs/"+string(id)+"/big"), b.keys.Derive(token.User, id)), gib),
		transferred(nginx, getting(nginx.url("/big"), ""), gib),
	)
	if err != nil {
		return nil, err
	}
	return c.lines(figure{what: "GET of 1 GiB, CPU", against: "nginx, sendfile", rival: 1, unit: seconds, limit: 1.1}), nil
}

// nginx starts an nginx that serves the folder of that name and takes uploads into it. Where
// nothing is said it is as nginx has it.
func (r *room) nginx(ctx context.Context) (*process, error) {
	path, err := installed(ctx, "nginx", "nginx-light")
	if err != nil {
		return nil, err
	}
	root, err := r.folder("nginx")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	config := fmt.Sprintf(`%s
daemon off;
master_process off;
error_log stderr;
pid %[2]s.pid;
events {}
http {
	access_log off;
	sendfile on;
	client_max_body_size 0;
	client_body_temp_path %[2]s.temp; proxy_temp_path %[2]s.temp; fastcgi_temp_path %[2]s.temp; uwsgi_temp_path %[2]s.temp; scgi_temp_path %[2]s.temp;
	server {
		listen 127.0.0.1:%[3]s;
		location / { root %[2]s; dav_methods PUT; }
		location = /healthz { return 200 ok; }
	}
}
`, user, root, port)
	file := root + ".conf"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p, err := r.start(ctx, spec{path: path, args: []string{"-c", file}})
	if err != nil {
		return nil, err
	}
	p.addr = "127.0.0.1:" + port
	return p, p.ready(ctx)
}
