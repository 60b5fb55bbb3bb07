package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"gocloud.dev/blob"
)

// mostUploads is how many large blobs are uploaded at a time where memory is no concern.
const mostUploads = 32

// uploadsAtOnce is how many uploads that take so much memory each have room in half of the
// process's limit, GOMEMLIMIT: clouds want parts of a known length, of which a client keeps
// several, so that memory would grow with the number of uploads. The others wait, and so do their
// senders.
func uploadsAtOnce(memory, limit int64) int64 {
	return min(max(limit/2/max(memory, 1), 1), mostUploads)
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
