//go:build !gs

package drivers

import "go-job-orchestrator/shared/store"

const hasGS = false

func gsBackend(bucket) store.Backend { return store.Backend{} }
