//go:build s3

package drivers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // s3://

	"go-job-orchestrator/shared/store"
)

const hasS3 = true

// Parts of the least size that S3 takes, three of which are on their way at a time while the next
// is read: 48 GiB at most in the 10,000 parts that it allows. The first part is read into memory of
// its own.
const (
	s3PartSize    = 5 << 20
	s3Concurrency = 3
	s3Memory      = (s3Concurrency + 2) * s3PartSize
)

// s3BatchSize is how many objects DeleteObjects takes.
const s3BatchSize = 1000

func s3Extension(b bucket) store.Extension {
	var client *s3.Client
	b.As(&client)
	o := &objects{client: client, bucket: b, uploads: sync.OnceValue(
		func() *transfermanager.Client { return newUploads(client) })}
	return store.Extension{
		After:         o.after,
		Handover:      true, // through a pipe a failed request would be reported as a closed pipe
		Writing:       func(opts *blob.WriterOptions) { opts.BeforeWrite = o.before },
		UploadMemory:  s3Memory,
		RemoveBatch:   o.remove,
		BatchSize:     s3BatchSize,
		Sweep:         o.sweep,
		Signing:       signS3,
		SignedHeaders: map[string]string{},
	}
}

// objects is what needs S3's own client.
type objects struct {
	client  *s3.Client
	bucket  bucket
	uploads func() *transfermanager.Client // made with the first one
}

// before has an upload be made by the client of newUploads. gocloud has no option for it: what it
// made is replaced.
func (o *objects) before(as func(any) bool) error {
	var c *transfermanager.Client
	if as(&c) {
		*c = *o.uploads()
	}
	return nil
}

// newUploads makes parts of an upload from the second part on, where it would read the first 16 MiB
// into memory to find out, and sends again what the server refused for something that went on at
// the same time.
func newUploads(client *s3.Client) *transfermanager.Client {
	options := client.Options()
	patient := s3.New(options, func(o *s3.Options) {
		o.Retryer = retry.AddWithErrorCodes(o.Retryer,
			// S3 asks to retry a conditional write that met another write or delete of the key:
			// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
			"ConditionalRequestConflict",
			// versitygw on files: the folder was pruned, as its last object went, while this one was being
			// put there.
			"ExistingObjectIsDirectory",
		)
	})
	return transfermanager.New(patient, func(t *transfermanager.Options) {
		t.PartSizeBytes, t.MultipartUploadThreshold, t.Concurrency = s3PartSize, s3PartSize, s3Concurrency
		t.RequestChecksumCalculation = options.RequestChecksumCalculation
	})
}

func (o *objects) after(key string) func(as func(any) bool) error {
	return func(as func(any) bool) error {
		var in *s3.ListObjectsV2Input
		if as(&in) {
			in.StartAfter = aws.String(o.bucket.prefix + key)
		}
		return nil
	}
}

func (o *objects) remove(ctx context.Context, keys []string) error {
	list := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		list[i].Key = aws.String(o.bucket.prefix + key)
	}
	out, err := o.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: aws.String(o.bucket.name), Delete: &types.Delete{Objects: list, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return fmt.Errorf("delete %d objects: %w", len(keys), err)
	}
	for _, e := range out.Errors {
		if code := aws.ToString(e.Code); code != "NoSuchKey" {
			return fmt.Errorf("delete %s: %s: %s", aws.ToString(e.Key), code, aws.ToString(e.Message))
		}
	}
	return nil
}

// sweep gives up multipart uploads that nobody will complete: their parts are invisible, and are
// paid for.
func (o *objects) sweep(ctx context.Context, age time.Duration) error {
	in := &s3.ListMultipartUploadsInput{Bucket: aws.String(o.bucket.name), Prefix: aws.String(o.bucket.prefix)}
	var failed error
	for pages := s3.NewListMultipartUploadsPaginator(o.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list uploads: %w", err)
		}
		for _, u := range page.Uploads {
			if u.Initiated == nil || time.Since(*u.Initiated) < age {
				continue
			}
			_, err := o.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: in.Bucket, Key: u.Key,
				UploadId: u.UploadId})
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func signS3(l store.Link) func(as func(any) bool) error {
	return func(as func(any) bool) error {
		if l.Method == http.MethodPut {
			var in *s3.PutObjectInput
			if as(&in) {
				in.ContentLength = aws.Int64(l.Size)
			}
			return nil
		}
		var in *s3.GetObjectInput
		if as(&in) {
			in.ResponseContentType, in.ResponseContentDisposition = aws.String(l.ContentType), aws.String(l.Disposition)
			in.ResponseCacheControl = aws.String("private, no-store")
		}
		return nil
	}
}
