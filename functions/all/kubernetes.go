//go:build kubernetes

package all

import (
	"context"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// cluster runs jobs as Jobs of a Kubernetes cluster. They go on while this process is stopped.
type cluster struct {
	backend     backend.Backend
	description string
}

func openKubernetes(env *platform.Env, records *ledger.Ledger) (runner, error) {
	client, where, err := kubernetes.Connect(env)
	if err != nil {
		return nil, err
	}
	b, err := kubernetes.Open(env, client, records)
	if err != nil {
		return nil, err
	}
	return &cluster{backend: b, description: "jobs are Kubernetes Jobs: " + where}, nil
}

func (c *cluster) Backend() backend.Backend { return c.backend }

func (c *cluster) Describe() string { return c.description }

// Recover has nothing to do: the reaper finds out what happened to the jobs.
func (c *cluster) Recover(context.Context) error { return nil }

// Drain leaves the jobs to the cluster.
func (c *cluster) Drain() {}

func kubernetesSettings() []any { return []any{&kubernetes.Settings{}} }
