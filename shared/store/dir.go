package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"

	"go-job-orchestrator/shared/job"
)

// dirMode keeps what users store from other users of the machine.
const dirMode = 0o700

// OpenDir returns a Store over a directory, which is created if need be.
func OpenDir(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open storage directory: %w", err)
	}
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{
		CreateDir:   true,
		DirFileMode: dirMode,
		NoTempDir:   true, // a rename from another file system would fail
		Metadata:    fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fmt.Errorf("open storage directory: %w", err)
	}
	return &Store{bucket: b, driver: &directory{root: dir, bucket: b, large: make(chan struct{}, largeCopies)},
		notifier: newNotifier()}, nil
}

// directory is the driver of a bucket that is a directory. Keys of records and folders are made of
// the characters a-z, 0-9, '.', '_', '-' and '/' only, so that they are their own file names.
//
// What is flushed are the bytes of blobs, and the folder of each record. The names of blobs and
// index entries, and new folders above a record, last with the next record: ext4, XFS and ZFS keep changes
// of names in order. A file system that does not may lose them with the power.
type directory struct {
	root    string
	bucket  *blob.Bucket
	buffers sync.Pool     // of *[copyBuffer]byte
	large   chan struct{} // places for those that are used
}

var _ driver = (*directory)(nil)

// attempts bounds how often a writer makes a folder anew that was pruned before the writer used it.
const attempts = 100

func (d *directory) remove(_ context.Context, key string) error {
	path := d.path(key)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) &&
		!isInTheWay(err) {
		return d.kindOrNil(err, "remove", key) // a folder, which "exists", is no blob
	}
	d.prune(filepath.Dir(path))
	return nil
}

func (d *directory) removeAll(_ context.Context, prefix string) error {
	path := d.path(strings.TrimSuffix(prefix, "/"))
	if err := os.RemoveAll(path); err != nil {
		return d.kindOrNil(err, "remove", prefix)
	}
	d.prune(filepath.Dir(path))
	return nil
}

// prune removes folders that have become empty, up to the root: gocloud leaves them, and they would
// pile up with every job. rmdir(2) refuses those that are in use, and files, which os.Remove does
// not.
func (d *directory) prune(path string) {
	for strings.HasPrefix(path, d.root+string(filepath.Separator)) && syscall.Rmdir(path) == nil {
		path = filepath.Dir(path)
	}
}

func (d *directory) path(key string) string {
	return filepath.Join(d.root, filepath.FromSlash(key))
}

func (d *directory) free() (int64, bool) { return freeBytes(d.root) }

func (d *directory) isDir() bool { return true }

func (d *directory) link(context.Context, string, Link) (string, bool, error) { return "", false, nil }

func (d *directory) linkHeaders() map[string]string { return nil }

func (d *directory) withPatience(time.Duration, time.Duration) driver { return d } // a disk answers or fails

func (d *directory) kindOf(err error) error {
	switch {
	case errors.Is(err, job.ErrNotFound):
		return job.ErrNotFound
	case isFull(err):
		return job.ErrExhausted
	case isBadName(err), isInTheWay(err):
		return job.ErrInvalid
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return job.ErrNotFound
	case gcerrors.AlreadyExists, gcerrors.FailedPrecondition:
		return job.ErrExists
	}
	return nil
}

func (d *directory) kindOrNil(err error, verb, key string) error {
	if err == nil {
		return nil
	}
	return kindOf(err, d.kindOf(err), verb, key)
}
