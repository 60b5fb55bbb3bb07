//go:build !kubernetes

package all

import (
	"errors"

	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// errNotLinked says how to get a build with Kubernetes. Its client would make up half of the binary
// and half of the time to start.
var errNotLinked = errors.New("JOBS: kubernetes is not linked into this build; use make run JOBS=kubernetes, " +
	"or go build -tags kubernetes")

func openKubernetes(*platform.Env, *ledger.Ledger) (runner, error) { return nil, errNotLinked }

func kubernetesSettings() []any { return nil }
