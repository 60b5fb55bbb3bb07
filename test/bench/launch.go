package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// What a turn of launches is.
const (
	launchesATurn   = 50
	launchesAtATime = 8
)

// jobSinkWrites is how often Knative's JobSink writes to the API server for an event: a Secret with
// it, and a Job.
const jobSinkWrites = 2

// launch measures the creation of a Job and a Secret for each event, on the real API server. No
// pods are made, because their cost would dominate.
func launch(ctx context.Context, r *room) ([]line, error) {
	c, err := r.newCluster(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.in(ctx, "create", "quota", "no-pods", "--hard=pods=0"); err != nil {
		return nil, err
	}
	if err := c.login(ctx); err != nil {
		return nil, err
	}
	ours, err := c.launcher(ctx, "launch", c.server.Host, c.authority)
	if err != nil {
		return nil, err
	}
	writes, err := c.writes(ctx)
	if err != nil {
		return nil, err
	}
	bare, err := c.bare(ctx, ours)
	if err != nil {
		return nil, err
	}
	figures, err := r.contest(ctx, ours.turn, bare)
	if err != nil {
		return nil, err
	}
	return append([]line{
		figure{what: "calls that write to launch a job", against: "JobSink", unit: calls, limit: 1}.line(writes,
			jobSinkWrites, writes/jobSinkWrites, 1),
	}, figures.lines(figure{
		what: "jobs launched", against: "bare POST of a Job and a Secret", rival: 1, unit: perSecond, limit: 0.8,
		atLeast: true,
		missed:  "the function reads the job's records first, and shares two cores with the API server",
	})...), nil
}

// launcher is the function, in a jail that looks like its pod.
type launcher struct {
	*cluster
	seed seed
	sink event.Sink
}

func (c *cluster) launcher(ctx context.Context, name, api string, authority []byte) (*launcher, error) {
	root, err := c.pod(name, c.command("launch"))
	if err != nil {
		return nil, err
	}
	account := filepath.Join(root, "var", "run", "secrets", "kubernetes.io", "serviceaccount")
	err = errors.Join(
		os.WriteFile(filepath.Join(account, "token"), []byte(c.token), 0o600),
		os.WriteFile(filepath.Join(account, "ca.crt"), authority, 0o600),
	)
	if err != nil {
		return nil, err
	}
	vars, err := functionVars()
	if err != nil {
		return nil, err
	}
	vars["NAMESPACE"] = c.namespace
	if vars["KUBERNETES_SERVICE_HOST"], vars["KUBERNETES_SERVICE_PORT"], err = net.SplitHostPort(api); err != nil {
		return nil, err
	}
	p, err := c.serve(ctx, spec{path: "/function", root: root, vars: vars})
	if err != nil {
		return nil, err
	}
	sink, err := event.NewHTTPSink(p.url("/"))
	return &launcher{cluster: c, seed: seed{filepath.Join(root, "data")}, sink: sink}, err
}

// turn launches jobs, and removes them when the clock has stopped.
func (l *launcher) turn(ctx context.Context) ([]float64, error) {
	took, err := l.launch(ctx, launchesATurn)
	return []float64{launchesATurn / took.Seconds()}, errors.Join(err, l.clear(ctx))
}

// launch stores n jobs, and says how long it took from the first event to the last answer.
func (l *launcher) launch(ctx context.Context, n int) (time.Duration, error) {
	var jobs []job.ID
	err := l.seed.jobs(ctx, n, time.Now(), func(_ context.Context, _ *ledger.Ledger, index *job.Index) error {
		jobs = append(jobs, index.JobID)
		return nil
	})
	if err != nil {
		return 0, err
	}
	var next atomic.Int64
	start := time.Now()
	err = atATime(launchesAtATime, n, func() error {
		return l.sink.Send(ctx, event.New(event.Submitted, "/bench", jobs[next.Add(1)-1], time.Now()))
	})
	return time.Since(start), err
}

// clear removes all Jobs and Secrets, and waits until they have gone.
func (c *cluster) clear(ctx context.Context) error {
	for _, resource := range []string{"jobs", "secrets"} {
		q := c.api(http.MethodDelete, resource, http.StatusOK)
		q.body = strings.NewReader(`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`)
		if _, err := q.drain(ctx, c.client); err != nil {
			return err
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		left, err := c.list(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d Jobs do not go", len(left))
		}
	}
}

// list returns the Jobs.
func (c *cluster) list(ctx context.Context) ([]map[string]any, error) {
	text, err := c.api(http.MethodGet, "jobs", http.StatusOK).read(ctx, c.client)
	if err != nil {
		return nil, err
	}
	var all struct {
		Items []map[string]any `json:"items"`
	}
	return all.Items, json.Unmarshal(text, &all)
}

// writes counts the calls that write, between the function and the API server, for each job.
func (c *cluster) writes(ctx context.Context) (float64, error) {
	var n atomic.Int64
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{
		Rewrite: func(q *httputil.ProxyRequest) {
			q.SetURL(c.server)
			if q.In.Method != http.MethodGet {
				n.Add(1)
			}
		},
		Transport: c.client.Transport,
	})
	defer proxy.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	l, err := c.launcher(ctx, "counted", proxy.Listener.Addr().String(), authority)
	if err != nil {
		return 0, err
	}
	_, err = l.launch(ctx, launchesATurn)
	return float64(n.Load()) / launchesATurn, errors.Join(err, l.clear(ctx))
}

// bare returns a contestant that makes the same objects with nothing around it.
func (c *cluster) bare(ctx context.Context, ours *launcher) (contestant, error) {
	if _, err := ours.launch(ctx, 1); err != nil {
		return nil, err
	}
	made, err := c.list(ctx)
	if err == nil && len(made) != 1 {
		err = fmt.Errorf("%d Jobs were made of one event", len(made))
	}
	if err := errors.Join(err, c.clear(ctx)); err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]float64, error) {
		start := time.Now()
		err := atATime(launchesAtATime, launchesATurn, func() error { return c.create(ctx, made[0]) })
		took := time.Since(start)
		return []float64{launchesATurn / took.Seconds()}, errors.Join(err, c.clear(ctx))
	}, nil
}

// create makes another Job like one that was made, and a Secret that goes with it.
func (c *cluster) create(ctx context.Context, like map[string]any) error {
	name := "bare-" + strings.ToLower(rand.Text())
	meta, _ := like["metadata"].(map[string]any)
	spec, _ := like["spec"].(map[string]any)
	body := map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{"name": name, "labels": meta["labels"], "annotations": meta["annotations"]},
		"spec":     withoutSelector(spec),
	}
	answer, err := c.post(ctx, "jobs", body)
	if err != nil {
		return err
	}
	var made struct {
		Metadata struct{ UID string } `json:"metadata"`
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		return err
	}
	_, err = c.post(ctx, "secrets", map[string]any{
		"apiVersion": "v1", "kind": "Secret", "stringData": map[string]any{"token": rand.Text()},
		"metadata": map[string]any{"name": name, "ownerReferences": []any{
			map[string]any{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": made.Metadata.UID},
		}},
	})
	return err
}

func (c *cluster) post(ctx context.Context, resource string, body map[string]any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	q := c.api(http.MethodPost, resource, http.StatusCreated)
	q.body = bytes.NewReader(text)
	return q.read(ctx, c.client)
}

// withoutSelector returns the spec of a Job as it was before the API server tied it to its pods.
func withoutSelector(spec map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range spec {
		switch key {
		case "selector":
		case "template":
			template, _ := value.(map[string]any)
			out[key] = map[string]any{"spec": template["spec"]}
		default:
			out[key] = value
		}
	}
	return out
}
