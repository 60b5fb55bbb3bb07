package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// coldRounds is how many rounds the row has unless the command line says otherwise: each waits until
// Knative has ended all pods, which takes more than a minute.
const coldRounds = 10

// fromCold measures, on the cluster, what a system takes that is scaled to zero: from submitting a
// program to the answer, and to the first line of the log. In the same round an empty Knative Service
// starts from zero, and kubectl runs the same program. The images are on the node. It measures what
// is installed: the separate functions, the overlay one, or both in two namespaces.
func fromCold(ctx context.Context, r *room) ([]line, error) {
	if r.bench.options.rounds == 0 {
		r.rounds = coldRounds
	}
	c, err := r.newCluster(ctx)
	if err != nil {
		return nil, err
	}
	all, err := findAllDeployed(ctx)
	if err != nil {
		return nil, err
	}
	empty, err := c.emptyService(ctx, all[0])
	if err != nil {
		return nil, err
	}
	namespaces := []string{c.namespace}
	var turns []contestant
	for _, d := range all {
		namespaces = append(namespaces, d.namespace)
		turns = append(turns, d.fromCold)
	}
	// The first turn of a round waits for all.
	first := turns[0]
	turns[0] = func(ctx context.Context) ([]float64, error) {
		if err := awaitNoPods(ctx, namespaces); err != nil {
			return nil, err
		}
		return first(ctx)
	}
	figures, err := r.contest(ctx, append(turns, empty, c.bareLine)...)
	if err != nil {
		return nil, err
	}
	var lines []line
	for i, d := range all {
		lines = append(lines, d.lines(slices.Concat(figures[i:i+1], figures[len(all):]))...)
	}
	return lines, nil
}

// The contestants in the figures of one deployment.
const (
	againstEmpty = iota + 1
	againstKubectl
)

// lines compares one deployment with the two rivals.
func (d *deployed) lines(figures contest) []line {
	name, accepted, begun := "separate functions", 2.2, 3.0
	if d.one {
		name, accepted, begun = "overlay one", 1.4, 2
	}
	return figures.lines(
		figure{
			what: "submit → accepted, from cold, " + name, against: "an empty Knative Service", rival: againstEmpty, index: 0,
			unit: milliseconds, limit: accepted, missed: "the gateway has to run before it can start submit",
		},
		figure{
			what: "submit → first line of the log, from cold, " + name, against: "kubectl create job, kubectl logs",
			rival: againstKubectl, index: 1, unit: milliseconds, limit: begun,
			missed: "the pods that the job needs start on the processors that its own pod starts on",
		},
		figure{
			what: "the same, warm, " + name, against: "kubectl create job, kubectl logs", rival: againstKubectl, index: 2,
			unit: milliseconds, limit: 0.8, missed: "the job's pod has two containers, and the rival's has one",
		},
	)
}

// fromCold runs a job on a system without pods, and another one right after it.
func (d *deployed) fromCold(ctx context.Context) ([]float64, error) {
	if err := awaitNoPods(ctx, []string{d.namespace}); err != nil {
		return nil, err
	}
	_, accepted, cold, err := d.run(ctx)
	if err != nil {
		return nil, err
	}
	_, _, warm, err := d.run(ctx)
	return []float64{millis(accepted), millis(cold), millis(warm)}, err
}

// bareLine is the first line of a Job by hand, for each of our figures.
func (c *cluster) bareLine(ctx context.Context) ([]float64, error) {
	took, err := c.firstLine(ctx)
	if err != nil {
		return nil, err
	}
	return []float64{took[0], took[0], took[0]}, nil
}

// emptyService makes a Knative Service that does nothing, and returns a contestant that calls it when
// it has no pod. It is reached as the orchestrator is.
func (c *cluster) emptyService(ctx context.Context, like *deployed) (contestant, error) {
	image, err := c.koBuild(ctx, filepath.Join(c.module, "test", "bench", "rivals"), "./nethttp")
	if err != nil {
		return nil, err
	}
	manifest := filepath.Join(c.dir, "empty.yaml")
	err = os.WriteFile(manifest, fmt.Appendf(nil, `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: empty}
spec: {template: {spec: {containers: [{image: %q}]}}}
`, image), 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := c.in(ctx, "apply", "-f", manifest); err != nil {
		return nil, err
	}
	if _, err := c.in(ctx, "wait", "--for=condition=Ready", "--timeout=3m", "ksvc/empty"); err != nil {
		return nil, err
	}
	address, err := c.in(ctx, "get", "ksvc", "empty", "-o", "jsonpath={.status.url}")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]float64, error) {
		if err := awaitNoPods(ctx, []string{c.namespace}); err != nil {
			return nil, err
		}
		start := time.Now()
		_, err := request{method: "GET", url: address + "/healthz", want: 200}.drain(ctx, like.client)
		took := millis(time.Since(start))
		return []float64{took, took, took}, err
	}, nil
}

// koBuild builds an image and returns its name.
func (b *bench) koBuild(ctx context.Context, dir, pkg string) (string, error) {
	args := append([]string{"-C", dir, "ko", "build"}, strings.Fields(os.Getenv("KO_FLAGS"))...)
	image, err := output(ctx, "env", append(args, pkg)...)
	if err != nil {
		return "", fmt.Errorf("the rival needs an image; set KO_DOCKER_REPO as for make deploy: %w", err)
	}
	return image, nil
}

// goneWithin is how long Knative may take to end pods that nobody calls.
const goneWithin = 10 * time.Minute

// awaitNoPods waits until no Knative Service in the namespaces has a pod that is not being ended.
func awaitNoPods(ctx context.Context, namespaces []string) error {
	end := time.Now().Add(goneWithin)
	for _, namespace := range namespaces {
		for {
			pods, err := kubectl(ctx, "get", "pods", "-n", namespace, "-l", "serving.knative.dev/service", "-o",
				"jsonpath={range .items[*]}{.metadata.name}={.metadata.deletionTimestamp} {end}")
			if err != nil {
				return err
			}
			stay := slices.DeleteFunc(strings.Fields(pods), func(pod string) bool { return !strings.HasSuffix(pod, "=") })
			if len(stay) == 0 {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("pods of namespace %s do not go within %s: %s", namespace, goneWithin, stay)
			}
			time.Sleep(time.Second)
		}
	}
	return nil
}
