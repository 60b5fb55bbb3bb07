//go:build !azblob

package drivers

import "go-job-orchestrator/shared/store"

const hasAzure = false

func azureExtension(bucket) store.Extension { return store.Extension{} }
