package store

import (
	"context"
	"errors"
	"io"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// cloud is the rules of buckets whose conditional writes are sound and whose listing is ordered: all but
// the directory.
type cloud struct{ bucket *blob.Bucket }

var _ rules = (*cloud)(nil)

func (c *cloud) create(ctx context.Context, key string, data []byte) error {
	return kindOrNil(c.bucket.WriteAll(ctx, key, data, &blob.WriterOptions{
		ContentType: "application/json", DisableContentTypeDetection: true, IfNotExist: true,
	}), "create", key)
}

func (c *cloud) list(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	keys := []string{}
	it := c.bucket.List(&blob.ListOptions{Prefix: prefix})
	for len(keys) < limit {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, kind(err, "list", prefix)
		}
		if o.Key > after {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

func (c *cloud) remove(ctx context.Context, key string) error {
	if err := c.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return kind(err, "remove", key)
	}
	return nil
}

func (c *cloud) removeAll(ctx context.Context, prefix string) error {
	it := c.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return kind(err, "list", prefix)
		}
		if err := c.remove(ctx, o.Key); err != nil {
			return err
		}
	}
}

func (c *cloud) free() (int64, bool) { return 0, false }

func (c *cloud) sweep(time.Duration) error { return nil } // a bucket shows whole blobs only

func (c *cloud) writing(*blob.WriterOptions) func() error { return func() error { return nil } }

func kindOrNil(err error, verb, key string) error {
	if err == nil {
		return nil
	}
	return kind(err, verb, key)
}
