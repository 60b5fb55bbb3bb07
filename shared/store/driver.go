package store

import (
	"context"
	"io"
	"time"
)

// driver is what a kind of bucket does in its own way, since gocloud's portable API either cannot
// say it or, on a directory, does it unsoundly or slowly. Errors of create, list, remove, removeAll
// and sweep have their kinds.
type driver interface {
	// create writes key if it does not exist, atomically; else the error is of kind job.ErrExists.
	create(ctx context.Context, key string, data []byte) error
	// list returns at most limit keys with the prefix that come after the key after, in ascending
	// order.
	list(ctx context.Context, prefix, after string, limit int) ([]string, error)
	// remove deletes one key; a missing one is no error.
	remove(ctx context.Context, key string) error
	// removeAll deletes every key with the prefix, which ends with a slash.
	removeAll(ctx context.Context, prefix string) error
	// put stores all of r, or nothing. It calls seen, if that is not nil, as soon as the blob can be
	// read, which may be before it is durable.
	put(ctx context.Context, key string, r io.Reader, seen func()) error
	// open reads a part of a blob.
	open(ctx context.Context, key string, offset, length int64) (*Reader, error)
	stat(ctx context.Context, key string) (Info, error)
	// link returns a signed URL, and false where there are none.
	link(ctx context.Context, key string, l Link) (string, bool, error)
	// free returns the bytes left, and false where no such number exists.
	free() (int64, bool)
	// sweep removes what writers left that died longer than age ago, where the bucket keeps such
	// things.
	sweep(ctx context.Context, age time.Duration) error
	// kindOf returns the kind of an error, or nil.
	kindOf(err error) error
	// isDir reports whether the bucket is a directory.
	isDir() bool
	// linkHeaders are what a client must send with a PUT to a signed URL.
	linkHeaders() map[string]string
	// withPatience returns a driver that waits so long for the bucket's answers, and for progress.
	withPatience(answer, stall time.Duration) driver
}
