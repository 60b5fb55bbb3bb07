//go:build !azblob

package drivers

import "go-job-orchestrator/shared/store"

const hasAzure = false

func azureBackend(bucket) store.Backend { return store.Backend{} }
