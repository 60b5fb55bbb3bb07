package outputs

import "go-job-orchestrator/shared/download"

// SetBucket has the function read from b, which has no URLs of its own.
func (f *Function) SetBucket(b download.Bucket) { f.bucket, f.files = b, download.From(b) }
