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
	url    string
	client *http.Client
}

func findDeployed(ctx context.Context) (*deployed, error) {
	address, err := kubectl(ctx, "get", "ksvc", "job-orchestrator", "-n", "job-orchestrator", "-o",
		"jsonpath={.status.url}")
	if err != nil {
		return nil, fmt.Errorf("not installed; make deploy installs it: %w", err)
	}
	d := &deployed{url: address, client: newClient(1)}
	if proxy := os.Getenv("E2E_PROXY"); proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil {
			return nil, fmt.Errorf("E2E_PROXY: %w", err)
		}
		d.client.Transport.(*http.Transport).Proxy = http.ProxyURL(u)
	}
	return d, nil
}

func (d *deployed) firstLine(ctx context.Context) ([]float64, error) {
	f, err := newForm("[]")
	if err != nil {
		return nil, err
	}
	start := time.Now()
	j, err := (&process{}).send(ctx, d.client, f.post(d.url+"/api/v1/jobs", strings.NewReader(printer),
		int64(len(printer))))
	if err != nil {
		return nil, err
	}
	logs, err := request{
		method: http.MethodGet, url: d.url + "/api/v1/jobs/" + j.ID + "/logs?follow=true", token: j.Token,
		want: http.StatusOK,
	}.do(ctx, d.client)
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	text := bufio.NewReader(logs)
	line, err := text.ReadString('\n')
	took := time.Since(start)
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("the log begins with %q", line)
	}
	_, ended := io.Copy(io.Discard, text)
	_, removed := request{method: http.MethodDelete, url: d.url + "/api/v1/jobs/" + j.ID, token: j.Token,
		want: http.StatusNoContent}.drain(ctx, d.client)
	return []float64{millis(took)}, errors.Join(err, ended, removed)
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
