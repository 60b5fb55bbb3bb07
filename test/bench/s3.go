package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// versitygw is the server of S3.
const versitygw = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// s3Upload measures an output of 1 GiB on its way through the function into a bucket of S3, with
// its checksum.
func s3Upload(ctx context.Context, r *room) ([]line, error) {
	storage, err := r.s3(ctx)
	if err != nil {
		return nil, err
	}
	if err := compile(ctx, r.module, r.dir, tags+",s3", "./functions/cmd/submit", "./functions/cmd/artifacts",
		"./test/bench/gocloud"); err != nil {
		return nil, err
	}
	key, err := tokenKey()
	if err != nil {
		return nil, err
	}
	sink, err := r.sink(ctx)
	if err != nil {
		return nil, err
	}
	storage["TOKEN_KEYS"], storage["K_SINK"] = key, sink
	id, err := r.s3Job(ctx, storage)
	if err != nil {
		return nil, err
	}
	keys, err := token.Parse(key)
	if err != nil {
		return nil, err
	}
	putting := func(program, path, token string) contestant {
		return func(ctx context.Context) ([]float64, error) {
			p, err := r.serve(ctx, spec{path: filepath.Join(r.dir, program), vars: storage})
			if err != nil {
				return nil, err
			}
			content, err := newStuff()
			if err != nil {
				return nil, err
			}
			start := time.Now()
			_, err = request{method: http.MethodPut, url: p.url(path), token: token, body: content.take(gib), size: gib,
				want: http.StatusCreated}.drain(ctx, newClient(1))
			rate := gib / mib / time.Since(start).Seconds()
			peak, peakErr := p.peak()
			return []float64{peak, rate}, errors.Join(err, peakErr, p.kill())
		}
	}
	c, err := r.contest(ctx,
		putting("artifacts", "/artifacts/"+string(id)+"/upload/big", keys.Derive(token.Agent, id)),
		putting("gocloud", "/big", ""),
	)
	if err != nil {
		return nil, err
	}
	return c.lines(
		figure{what: "upload of 1 GiB to S3, peak memory", against: "gocloud as it is", rival: 1, index: 0, unit: mebibytes,
			limit: 0.7},
		figure{what: "upload of 1 GiB to S3, throughput", against: "gocloud as it is", rival: 1, index: 1,
			unit: mebibytesPerSecond, limit: 0.8, atLeast: true},
	), nil
}

// s3Job submits a job that nobody will run.
func (r *room) s3Job(ctx context.Context, vars map[string]string) (job.ID, error) {
	p, err := r.serve(ctx, spec{path: filepath.Join(r.dir, "submit"), vars: vars})
	if err != nil {
		return "", err
	}
	f, err := newForm("[]")
	if err != nil {
		return "", err
	}
	j, err := p.send(ctx, newClient(1), f.post(p.url("/api/v1/jobs"), strings.NewReader("x"), 1))
	if err != nil {
		return "", err
	}
	return job.ID(j.ID), p.kill()
}

// s3 starts a server of S3 and returns the settings of those that use it.
func (r *room) s3(ctx context.Context) (map[string]string, error) {
	install := exec.CommandContext(ctx, "go", "install", versitygw)
	install.Dir = r.dir
	install.Env = append(os.Environ(), "GOBIN="+r.bin, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("versitygw %w: %w: %s", errMissing, err, lastLine(out))
	}
	if _, err := r.folder("s3/jobs"); err != nil { // a bucket is a folder
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	const access, secret = "bench", "bench-secret"
	p, err := r.start(ctx, spec{path: r.command("versitygw"), args: []string{
		"--port", "127.0.0.1:" + port, "--access", access, "--secret", secret, "--health", "/healthz", "--quiet", "posix",
		filepath.Join(r.dir, "s3"),
	}})
	if err != nil {
		return nil, err
	}
	p.addr = "127.0.0.1:" + port
	return map[string]string{
		"STORAGE_URL":       "s3://jobs?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape("http://"+p.addr),
		"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true",
	}, p.ready(ctx)
}
