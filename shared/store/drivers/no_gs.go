//go:build !gs

package drivers

import "go-job-orchestrator/shared/store"

const hasGS = false

func gsExtension(bucket) store.Extension { return store.Extension{} }
