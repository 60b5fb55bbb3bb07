//go:build !kubernetes

package all

import (
	"errors"

	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// errNotLinked says how to get a build that can do it. Kubernetes' client would be half of this
// one, and of what it costs to start it.
var errNotLinked = errors.New("JOBS: kubernetes is not linked into this build; make run JOBS=kubernetes makes one " +
	"that has it (go build -tags kubernetes)")

func openKubernetes(*platform.Env, *ledger.Ledger) (runner, error) { return nil, errNotLinked }

func kubernetesSettings() []any { return nil }
