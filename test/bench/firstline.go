package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// firstLine measures, on the cluster, the time from submitting a program to reading the first line
// it prints. The functions are warm, as they are for a while after the first job. The image is on
// the node.
func firstLine(ctx context.Context, r *room) ([]line, error) {
	c, err := r.newCluster(ctx)
	if err != nil {
		return nil, err
	}
	d, err := findDeployed(ctx)
	if err != nil {
		return nil, err
	}
	all, err := r.contest(ctx, d.firstLine, c.firstLine)
	if err != nil {
		return nil, err
	}
	return all.lines(figure{
		what: "submit → first line of the log, on the cluster, warm", against: "kubectl create job, kubectl logs", rival: 1,
		unit: milliseconds, limit: 1.5,
		missed: "an event, and a sidecar that has to run before Kubernetes starts the program's container, which the " +
			"kubelet sees once a second; the rival has one container",
	}), nil
}

// What is run, and in what.
const (
	printer      = "#!/bin/sh\necho hello\n"
	printerImage = "debian:stable-slim"
)

// deployed is the orchestrator that is installed on the cluster.
type deployed struct {
	namespace string
	one       bool // the overlay one, and not separate functions
	url       string
	key       string // of a caller
	client    *http.Client
}

// keysVariable has keys of callers, separated by commas: one for each namespace in which the
// orchestrator is installed.
const keysVariable = "E2E_KEY"

// findDeployed returns the orchestrator in the namespace of config/.
func findDeployed(ctx context.Context) (*deployed, error) {
	all, err := findAllDeployed(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.namespace == "job-orchestrator" {
			return d, nil
		}
	}
	return nil, errors.New("not installed in the namespace job-orchestrator; make deploy installs it")
}

// findAllDeployed returns the orchestrators in all namespaces.
func findAllDeployed(ctx context.Context) ([]*deployed, error) {
	text, err := kubectl(ctx, "get", "ksvc", "-A", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.status.url}{"\n"}{end}`)
	if err != nil {
		return nil, fmt.Errorf("no Knative Services: %w", err)
	}
	services := map[string]string{} // URLs, by namespace and name
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 {
			services[fields[0]+"/"+fields[1]] = fields[2]
		}
	}
	var all []*deployed
	for name, address := range services {
		namespace, service, _ := strings.Cut(name, "/")
		if service != "job-orchestrator" {
			continue
		}
		d := &deployed{namespace: namespace, one: services[namespace+"/submit"] == "", url: address, client: newClient(1)}
		if err := d.login(ctx); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		return nil, errors.New("not installed; make deploy installs it")
	}
	slices.SortFunc(all, func(a, b *deployed) int { return strings.Compare(a.namespace, b.namespace) })
	return all, nil
}

// login finds the key that opens it.
func (d *deployed) login(ctx context.Context) error {
	if proxy := os.Getenv("E2E_PROXY"); proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil {
			return fmt.Errorf("E2E_PROXY: %w", err)
		}
		d.client.Transport.(*http.Transport).Proxy = http.ProxyURL(u)
	}
	var refused error
	for key := range strings.SplitSeq(os.Getenv(keysVariable), ",") {
		d.key = key
		whoami := request{method: http.MethodGet, url: d.url + "/api/v1/whoami", token: key, want: http.StatusOK}
		_, refused = whoami.drain(ctx, d.client)
		if refused == nil {
			return nil
		}
	}
	return fmt.Errorf("set %s to a key of the orchestrator in namespace %s: %w", keysVariable, d.namespace, refused)
}

// firstLine runs a job, and removes it.
func (d *deployed) firstLine(ctx context.Context) ([]float64, error) {
	job, _, line, err := d.run(ctx)
	if err != nil {
		return nil, err
	}
	_, err = request{method: http.MethodDelete, url: d.url + "/api/v1/jobs/" + job, token: d.key,
		want: http.StatusNoContent}.drain(ctx, d.client)
	return []float64{millis(line)}, err
}

// run runs a job that prints a line. It returns its ID, and the time to the answer and to the line.
func (d *deployed) run(ctx context.Context) (id string, accepted, line time.Duration, err error) {
	f, err := newFormOf(map[string]string{"runtime": "binary", "entrypoint": "run", "ttlSecondsAfterFinished": "300"})
	if err != nil {
		return "", 0, 0, err
	}
	submit := f.post(d.url+"/api/v1/jobs", strings.NewReader(printer), int64(len(printer)))
	submit.token = d.key
	start := time.Now()
	j, err := (&process{}).send(ctx, d.client, submit)
	if err != nil {
		return "", 0, 0, err
	}
	accepted = time.Since(start)
	logs, err := request{
		method: http.MethodGet, url: d.url + "/api/v1/jobs/" + j.ID + "/logs?follow=true", token: d.key,
		want: http.StatusOK,
	}.do(ctx, d.client)
	if err != nil {
		return "", 0, 0, err
	}
	defer logs.Close()
	text := bufio.NewReader(logs)
	first, err := text.ReadString('\n')
	line = time.Since(start)
	if err == nil && first != "hello\n" {
		err = fmt.Errorf("the log begins with %q", first)
	}
	_, ended := io.Copy(io.Discard, text)
	return j.ID, accepted, line, errors.Join(err, ended)
}

// firstLine is the same by hand: logs are asked for again until there are some.
func (c *cluster) firstLine(ctx context.Context) ([]float64, error) {
	name := "bare-" + strings.ToLower(rand.Text()[:8])
	start := time.Now()
	if _, err := c.in(ctx, "create", "job", name, "--image="+printerImage, "--", "echo", "hello"); err != nil {
		return nil, err
	}
	for {
		out, err := exec.CommandContext(ctx, "kubectl", "-n", c.namespace, "logs", "--follow", "job/"+name).Output()
		took := time.Since(start)
		if err == nil && string(out) == "hello\n" {
			_, err = c.in(ctx, "delete", "job", name)
			return []float64{millis(took)}, err
		}
		if took > time.Minute {
			return nil, fmt.Errorf("kubectl logs: %q: %w", out, err)
		}
	}
}
