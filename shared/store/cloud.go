package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/semaphore"

	"go-job-orchestrator/shared/job"
)

// Extension is what one kind of bucket can do beyond gocloud's portable API. Every part may be left
// out.
type Extension struct {
	// After has a listing begin at the key, or behind it: a blob.ListOptions.BeforeList. Without it a
	// listing begins with the prefix, and costs what lies before the key.
	After func(key string) func(as func(any) bool) error
	// RemoveBatch deletes at most BatchSize blobs with one request; missing ones are no error.
	RemoveBatch func(ctx context.Context, keys []string) error
	BatchSize   int
	// Handover has the driver read what is uploaded, instead of being written to.
	Handover bool
	// Writing changes how a blob is uploaded.
	Writing func(opts *blob.WriterOptions)
	// UploadMemory is how many bytes of memory the upload of a large blob takes.
	UploadMemory int64
	// Sweep removes what is left of uploads that began longer than age ago and never ended.
	Sweep func(ctx context.Context, age time.Duration) error
	// Denied reports whether an error is one of missing rights, where gocloud takes it for another.
	Denied func(error) bool
	// Signing changes what is signed so that the link does what it must: a
	// blob.SignedURLOptions.BeforeSign.
	Signing func(l Link) func(as func(any) bool) error
	// SignedHeaders are what a client of a link to write must send. Nil: such links cannot be made.
	SignedHeaders map[string]string
}

// How long a bucket may take before it counts as unavailable.
const (
	// answerTime is for one record, or for the beginning of a blob.
	answerTime = 30 * time.Second
	// stallTime is without any progress of a blob's bytes.
	stallTime = 2 * time.Minute
)

func newCloud(b *blob.Bucket, also Extension) *cloud {
	large := semaphore.NewWeighted(uploadsAtOnce(also.UploadMemory, debug.SetMemoryLimit(-1)))
	return &cloud{bucket: b, Extension: also, answerTime: answerTime, stallTime: stallTime, large: large}
}

// cloud is the driver of buckets whose conditional writes are sound and whose listing is ordered:
// all but the directory.
type cloud struct {
	bucket *blob.Bucket
	Extension
	answerTime, stallTime time.Duration
	large                 *semaphore.Weighted // places for the uploads of large blobs
}

var _ driver = (*cloud)(nil)

// writerKey is the metadata that tells who wrote a record.
const writerKey = "writer"

func (c *cloud) create(ctx context.Context, key string, data []byte) error {
	writer := rand.Text()
	err := c.createAs(ctx, writer, key, data)
	if err == nil {
		return nil
	}
	// A write whose answer was lost may have been stored all the same; and the clients of clouds send
	// it again by themselves, and then find their own.
	ctx, cancel := within(ctx, c.answerTime)
	defer cancel()
	attributes, readErr := c.bucket.Attributes(ctx, key)
	switch {
	case readErr == nil && attributes.Metadata[writerKey] == writer:
		return nil
	case readErr == nil:
		return fmt.Errorf("create %s: %w", key, job.ErrExists)
	}
	return c.kind(err, "create", key)
}

func (c *cloud) createAs(ctx context.Context, writer, key string, data []byte) error {
	return c.putWhole(ctx, key, data, &blob.WriterOptions{
		ContentType: "application/json", DisableContentTypeDetection: true, IfNotExist: true,
		Metadata: map[string]string{writerKey: writer},
	})
}

// putWhole stores a small blob with one request, without the memory of a large one.
func (c *cloud) putWhole(ctx context.Context, key string, data []byte, opts *blob.WriterOptions) error {
	ctx, cancel := within(ctx, c.answerTime)
	defer cancel()
	if c.Writing != nil {
		c.Writing(opts)
	}
	opts.BufferSize = len(data) + 1
	if c.Handover {
		return causeOf(ctx, c.bucket.Upload(ctx, key, bytes.NewReader(data), opts))
	}
	return causeOf(ctx, c.bucket.WriteAll(ctx, key, data, opts))
}

func (c *cloud) isMissing(err error) bool {
	return gcerrors.Code(err) == gcerrors.NotFound && (c.Denied == nil || !c.Denied(err))
}

func (c *cloud) free() (int64, bool) { return 0, false }

func (c *cloud) sweep(ctx context.Context, age time.Duration) error {
	if c.Sweep == nil {
		return nil // a bucket shows whole blobs only
	}
	return c.kind(c.Sweep(ctx, age), "sweep", "uploads")
}

func (c *cloud) link(ctx context.Context, key string, l Link) (string, bool, error) {
	if l.Method != http.MethodGet && c.SignedHeaders == nil {
		return "", false, nil
	}
	opts := &blob.SignedURLOptions{Method: l.Method, Expiry: l.Expiry}
	if c.Signing != nil {
		opts.BeforeSign = c.Signing(l)
	}
	url, err := c.bucket.SignedURL(ctx, key, opts)
	if gcerrors.Code(err) == gcerrors.Unimplemented {
		return "", false, nil
	}
	if err != nil {
		return "", false, c.kind(err, "sign", key)
	}
	return url, true, nil
}

func (c *cloud) isDir() bool { return false }

func (c *cloud) linkHeaders() map[string]string { return c.SignedHeaders }

func (c *cloud) withPatience(answer, stall time.Duration) driver {
	again := *c
	again.answerTime, again.stallTime = answer, stall
	return &again
}

func (c *cloud) kind(err error, verb, key string) error {
	if err == nil {
		return nil
	}
	return kindOf(err, c.kindOf(err), verb, key)
}

// kindOf takes for temporary what is not known to be anything else: the clients of clouds have no
// common words for servers that do not answer, or answer that they cannot just now.
func (c *cloud) kindOf(err error) error {
	if c.Denied != nil && c.Denied(err) {
		return nil
	}
	if isFull(err) {
		return job.ErrExhausted
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return job.ErrNotFound
	case gcerrors.AlreadyExists, gcerrors.FailedPrecondition:
		return job.ErrExists
	case gcerrors.PermissionDenied, gcerrors.InvalidArgument, gcerrors.Unimplemented:
		return nil
	}
	return job.ErrUnavailable
}
