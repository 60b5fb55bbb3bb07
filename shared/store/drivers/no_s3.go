//go:build !s3

package drivers

import "go-job-orchestrator/shared/store"

const hasS3 = false

func s3Backend(bucket) store.Backend { return store.Backend{} }
