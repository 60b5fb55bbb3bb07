//go:build !s3

package drivers

import "go-job-orchestrator/shared/store"

const hasS3 = false

func s3Extension(bucket) store.Extension { return store.Extension{} }
