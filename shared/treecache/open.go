package treecache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"go-job-orchestrator/shared/job"
)

// window bounds the memory that packing and unpacking an archive take: a function does several at a
// time, in a few hundred MiB.
const window = 1 << 20

// Open returns the archive at a key, as a tar. Reading it to the end without an error means that it
// is what was stored. One that is not is removed, so that it is built anew.
func (c *Cache) Open(ctx context.Context, owner, key string) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	at := prefix(owner, key)
	e, _, err := c.find(ctx, at)
	if err != nil {
		return nil, err
	}
	if e.name == "" {
		return nil, fmt.Errorf("packages %s: %w", key, job.ErrNotFound)
	}
	a := &archive{cache: c, ctx: ctx, at: at, entry: e, hash: sha256.New()}
	blob, err := c.Store.Open(ctx, at+e.blob, 0, -1)
	if errors.Is(err, job.ErrNotFound) {
		return nil, a.spoiled(err)
	}
	if err != nil {
		return nil, err
	}
	a.blob, a.raw = blob, io.TeeReader(blob, a.hash)
	a.decoder, err = zstd.NewReader(a.raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		blob.Close()
		return nil, err
	}
	return a, nil
}

// archive is an entry that is read.
type archive struct {
	cache   *Cache
	ctx     context.Context //nolint:containedctx // of the call that the archive is read for
	at      string
	entry   entry
	hash    hash.Hash
	blob    io.Closer
	raw     io.Reader
	decoder *zstd.Decoder
	ended   error
}

func (a *archive) Read(p []byte) (int, error) {
	if a.ended != nil {
		return 0, a.ended
	}
	n, err := a.decoder.Read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		a.ended = a.verify()
	} else {
		a.ended = a.judge(err)
	}
	return n, a.ended
}

// verify reads what may follow the archive, and compares its digest.
func (a *archive) verify() error {
	if _, err := io.Copy(io.Discard, a.raw); err != nil {
		return a.judge(err)
	}
	if hex.EncodeToString(a.hash.Sum(nil)) != a.entry.sum {
		return a.spoiled(errors.New("the SHA-256 differs"))
	}
	return io.EOF
}

// judge tells an archive that cannot be read from a bucket that cannot.
func (a *archive) judge(err error) error {
	if a.ctx.Err() != nil || errors.Is(err, job.ErrUnavailable) {
		return err
	}
	return a.spoiled(err)
}

// spoiled removes the entry.
func (a *archive) spoiled(why error) error {
	a.cache.Log.Warn("cached packages are spoiled and are removed", "entry", a.at, "error", why)
	err := a.cache.remove(context.WithoutCancel(a.ctx), a.at, a.entry)
	return errors.Join(fmt.Errorf("cached packages are not what was stored: %w", why), err)
}

func (a *archive) Close() error {
	a.decoder.Close()
	return a.blob.Close()
}

// remove removes an entry; its blob last, since without the entry nothing leads to it.
func (c *Cache) remove(ctx context.Context, at string, e entry) error {
	if err := c.Store.Remove(ctx, at+e.name); err != nil {
		return err
	}
	return c.Store.Remove(ctx, at+e.blob)
}
