package store

import (
	"context"
	"errors"

	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"
)

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
