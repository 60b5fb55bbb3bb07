package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"
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

// mostUploads is how many large blobs are uploaded at a time where memory is no concern.
const mostUploads = 32

// uploadsAtOnce is how many uploads that take so much memory each have room in half of the
// process's limit, GOMEMLIMIT: clouds want parts of a known length, of which a client keeps
// several, so that memory would grow with the number of uploads. The others wait, and so do their
// senders.
func uploadsAtOnce(memory, limit int64) int64 {
	return min(max(limit/2/max(memory, 1), 1), mostUploads)
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

func (c *cloud) list(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	opts := &blob.ListOptions{Prefix: prefix}
	if c.After != nil && after > prefix {
		opts.BeforeList = c.After(after)
	}
	keys := []string{}
	err := c.pages(ctx, opts, min(limit+1, maxPage), func(page []string) (bool, error) {
		for _, key := range page {
			if key > after && len(keys) < limit {
				keys = append(keys, key)
			}
		}
		return len(keys) < limit, nil
	})
	if err != nil {
		return nil, c.kind(err, "list", prefix)
	}
	return keys, nil
}

// maxPage is how many keys clouds tell at a time.
const maxPage = 1000

// pages calls f with the keys of each page until it returns false.
func (c *cloud) pages(ctx context.Context, opts *blob.ListOptions, size int, f func([]string) (bool, error)) error {
	if size <= 1 { // nothing is asked for
		return nil
	}
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := c.page(ctx, opts, token, size)
		if err != nil {
			return err
		}
		if more, err := f(page); err != nil || !more {
			return err
		}
		token = next
	}
	return nil
}

func (c *cloud) page(
	ctx context.Context, opts *blob.ListOptions, token []byte, size int,
) (keys []string, next []byte, err error) {
	ctx, cancel := within(ctx, c.answerTime)
	defer cancel()
	objects, next, err := c.bucket.ListPage(ctx, token, size, opts)
	if err != nil {
		return nil, nil, causeOf(ctx, err)
	}
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys, next, nil
}

func (c *cloud) remove(ctx context.Context, key string) error {
	ctx, cancel := within(ctx, c.answerTime)
	defer cancel()
	if err := c.bucket.Delete(ctx, key); err != nil && !c.isMissing(err) {
		return c.kind(causeOf(ctx, err), "remove", key)
	}
	return nil
}

func (c *cloud) isMissing(err error) bool {
	return gcerrors.Code(err) == gcerrors.NotFound && (c.Denied == nil || !c.Denied(err))
}

func (c *cloud) removeAll(ctx context.Context, prefix string) error {
	err := c.pages(ctx, &blob.ListOptions{Prefix: prefix}, maxPage, func(keys []string) (bool, error) {
		return true, c.removeKeys(ctx, keys)
	})
	if err != nil {
		return c.kind(err, "remove", prefix)
	}
	return nil
}

func (c *cloud) removeKeys(ctx context.Context, keys []string) error {
	if c.RemoveBatch == nil {
		return each(keys, func(key string) error { return c.remove(ctx, key) })
	}
	for len(keys) > 0 {
		n := min(len(keys), c.BatchSize)
		if err := c.removeBatch(ctx, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (c *cloud) removeBatch(ctx context.Context, keys []string) error {
	ctx, cancel := within(ctx, c.answerTime)
	defer cancel()
	return causeOf(ctx, c.RemoveBatch(ctx, keys))
}

func (c *cloud) free() (int64, bool) { return 0, false }

func (c *cloud) sweep(ctx context.Context, age time.Duration) error {
	if c.Sweep == nil {
		return nil // a bucket shows whole blobs only
	}
	return c.kind(c.Sweep(ctx, age), "sweep", "uploads")
}

func (c *cloud) stat(ctx context.Context, key string) (Info, error) {
	ctx, cancel := within(ctx, c.answerTime)
	defer cancel()
	attrs, err := c.bucket.Attributes(ctx, key)
	if err != nil {
		return Info{}, causeOf(ctx, err)
	}
	return Info{Size: attrs.Size, ModTime: attrs.ModTime}, nil
}

func (c *cloud) open(ctx context.Context, key string, offset, length int64) (*Reader, error) {
	whole := ctx
	ctx, watch := newWatch(ctx, c.stallTime)
	watch.start(c.answerTime)
	r, err := c.bucket.NewRangeReader(ctx, key, offset, length, nil)
	watch.stop()
	if err != nil {
		watch.end()
		err = causeOf(ctx, err)
		return c.behind(whole, key, offset, err)
	}
	return &Reader{ReadCloser: &watchedReader{Reader: r, watch: watch, ctx: ctx},
		Info: Info{Size: r.Size(), ModTime: r.ModTime()}}, nil
}

// behind is what there is to read behind the end of a blob: nothing, which clouds refuse to send.
// Otherwise it is the error there was.
func (c *cloud) behind(ctx context.Context, key string, offset int64, err error) (*Reader, error) {
	if offset <= 0 || c.isMissing(err) || errors.Is(err, errStalled) {
		return nil, err
	}
	info, statErr := c.stat(ctx, key)
	if statErr != nil || offset < info.Size {
		return nil, err
	}
	return &Reader{ReadCloser: io.NopCloser(strings.NewReader("")), Info: info}, nil
}

// smallBlob is the size up to which a blob is stored whole.
const smallBlob = 256 << 10

func (c *cloud) put(ctx context.Context, key string, r io.Reader, seen func()) error {
	var head bytes.Buffer
	if _, err := head.ReadFrom(io.LimitReader(r, smallBlob+1)); err != nil {
		return err
	}
	opts := &blob.WriterOptions{ContentType: "application/octet-stream", DisableContentTypeDetection: true}
	var err error
	if head.Len() <= smallBlob {
		err = c.putWhole(ctx, key, head.Bytes(), opts)
	} else {
		err = c.putLarge(ctx, key, io.MultiReader(&head, r), opts)
	}
	if err == nil && seen != nil {
		seen()
	}
	return err
}

func (c *cloud) putLarge(ctx context.Context, key string, r io.Reader, opts *blob.WriterOptions) error {
	if err := c.large.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.large.Release(1)
	ctx, watch := newWatch(ctx, c.stallTime)
	defer watch.end()
	if c.Writing != nil {
		c.Writing(opts)
	}
	in := &watchedSource{Reader: r, watch: watch}
	var err error
	if c.Handover {
		err = c.bucket.Upload(ctx, key, in, opts)
	} else {
		err = c.write(ctx, watch, key, in, opts)
	}
	if in.err != nil {
		return in.err // what the bucket's client makes of it says less
	}
	return causeOf(ctx, err)
}

func (c *cloud) write(ctx context.Context, watch *watch, key string, in io.Reader, opts *blob.WriterOptions) error {
	w, err := c.bucket.NewWriter(ctx, key, opts)
	if err != nil {
		return err
	}
	if _, err = io.CopyBuffer(struct{ io.Writer }{w}, in, make([]byte, copyBuffer)); err != nil {
		watch.cancel(err) // the one portable way to give up a blob: Close would commit it
		_ = w.Close()     // reports the cancellation
		return err
	}
	return w.Close()
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

// each does f for every key, several at a time, and returns all errors.
func each(keys []string, f func(string) error) error {
	const atOnce = 16
	var all errgroup.Group
	all.SetLimit(atOnce)
	errs := make([]error, len(keys))
	for i, key := range keys {
		all.Go(func() error {
			errs[i] = f(key)
			return nil // one that fails does not keep the others from their turn
		})
	}
	_ = all.Wait() // no function returns an error
	return errors.Join(errs...)
}
