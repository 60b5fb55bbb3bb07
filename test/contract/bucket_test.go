package contract

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"

	"go-job-orchestrator/shared/store"
)

// bucket is a bucket in memory that fails on demand. This is the only way to a full or broken
// storage that works on every machine.
type bucket struct {
	driver.Bucket // what is not here is not used

	mu    sync.Mutex
	blobs map[string][]byte
	fault func(verb, key string) gcerrors.ErrorCode // OK for none
}

func newBucket() *bucket { return &bucket{blobs: map[string][]byte{}} }

// Store is the bucket as functions see it.
func (b *bucket) Store() *store.Store {
	return store.OpenBucket(blob.NewBucket(b), store.Extension{SignedHeaders: map[string]string{}})
}

// failing makes the bucket fail while f runs. The verbs are read, write, list and delete.
func (b *bucket) failing(fault func(verb, key string) gcerrors.ErrorCode, f func()) {
	set := func(fault func(verb, key string) gcerrors.ErrorCode) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.fault = fault
	}
	set(fault)
	defer set(nil)
	f()
}

// forget removes the blobs whose keys contain a text.
func (b *bucket) forget(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.blobs, func(key string, _ []byte) bool { return strings.Contains(key, text) })
}

type bucketError struct{ code gcerrors.ErrorCode }

func (e *bucketError) Error() string { return e.code.String() }

// Unwrap says what a full storage says.
func (e *bucketError) Unwrap() error {
	if e.code == gcerrors.ResourceExhausted {
		return syscall.ENOSPC
	}
	return nil
}

// enter is the beginning of a call. The caller holds the lock.
func (b *bucket) enter(verb, key string) error {
	if b.fault == nil {
		return nil
	}
	if code := b.fault(verb, key); code != gcerrors.OK {
		return &bucketError{code}
	}
	return nil
}

// ErrorCode implements driver.Bucket.
func (b *bucket) ErrorCode(err error) gcerrors.ErrorCode {
	var e *bucketError
	if errors.As(err, &e) {
		return e.code
	}
	return gcerrors.Unknown
}

// ErrorAs implements driver.Bucket.
func (b *bucket) ErrorAs(error, any) bool { return false }

// Close implements driver.Bucket.
func (b *bucket) Close() error { return nil }

func (b *bucket) get(verb, key string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.enter(verb, key); err != nil {
		return nil, err
	}
	data, found := b.blobs[key]
	if !found {
		return nil, &bucketError{gcerrors.NotFound}
	}
	return data, nil
}

// modified is when everything in the bucket was stored.
func modified() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Attributes implements driver.Bucket.
func (b *bucket) Attributes(_ context.Context, key string) (*driver.Attributes, error) {
	data, err := b.get("read", key)
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{Size: int64(len(data)), ModTime: modified()}, nil
}

// ListPaged implements driver.Bucket.
func (b *bucket) ListPaged(_ context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.enter("list", opts.Prefix); err != nil {
		return nil, err
	}
	page := &driver.ListPage{}
	for key, data := range b.blobs {
		if strings.HasPrefix(key, opts.Prefix) {
			page.Objects = append(page.Objects, &driver.ListObject{Key: key, Size: int64(len(data)), ModTime: modified()})
		}
	}
	slices.SortFunc(page.Objects, func(a, b *driver.ListObject) int { return strings.Compare(a.Key, b.Key) })
	return page, nil
}

// NewRangeReader implements driver.Bucket.
func (b *bucket) NewRangeReader(
	_ context.Context, key string, offset, length int64, _ *driver.ReaderOptions,
) (driver.Reader, error) {
	data, err := b.get("read", key)
	if err != nil {
		return nil, err
	}
	part := data[min(offset, int64(len(data))):]
	if length >= 0 && length < int64(len(part)) {
		part = part[:length]
	}
	return &reader{Reader: bytes.NewReader(part), size: int64(len(data))}, nil
}

type reader struct {
	*bytes.Reader
	size int64
}

func (r *reader) Close() error { return nil }
func (r *reader) As(any) bool  { return false }
func (r *reader) Attributes() *driver.ReaderAttributes {
	return &driver.ReaderAttributes{Size: r.size, ModTime: modified()}
}

// NewTypedWriter implements driver.Bucket.
func (b *bucket) NewTypedWriter(ctx context.Context, key, _ string, opts *driver.WriterOptions) (driver.Writer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.enter("write", key); err != nil {
		return nil, err
	}
	return &writer{ctx: ctx, bucket: b, key: key, once: opts.IfNotExist}, nil
}

type writer struct {
	bytes.Buffer
	ctx    context.Context //nolint:containedctx // that of the write
	bucket *bucket
	key    string
	once   bool
}

func (w *writer) Close() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	w.bucket.mu.Lock()
	defer w.bucket.mu.Unlock()
	if _, exists := w.bucket.blobs[w.key]; exists && w.once {
		return &bucketError{gcerrors.FailedPrecondition}
	}
	w.bucket.blobs[w.key] = w.Bytes()
	return nil
}

// Delete implements driver.Bucket.
func (b *bucket) Delete(_ context.Context, key string, _ *driver.DeleteOptions) error {
	if _, err := b.get("delete", key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.blobs, key)
	return nil
}

// SignedURL implements driver.Bucket.
func (b *bucket) SignedURL(_ context.Context, key string, opts *driver.SignedURLOptions) (string, error) {
	return "https://bucket.example/" + url.PathEscape(key) + "?signature=" + opts.Method, nil
}

var (
	_ driver.Bucket = (*bucket)(nil)
	_ driver.Reader = (*reader)(nil)
	_ driver.Writer = (*writer)(nil)
)
