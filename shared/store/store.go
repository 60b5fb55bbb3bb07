// Package store keeps everything the orchestrator remembers in one bucket: blobs that stream in and
// out, and small records that are written once.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"gocloud.dev/blob"

	"go-job-orchestrator/shared/job"
)

// copyBuffer is the memory that one stream into the bucket takes.
const copyBuffer = 256 << 10

// Store is a bucket. Its methods may be called concurrently. Errors are of the kinds of package
// job.
type Store struct {
	bucket   *blob.Bucket
	driver   driver
	notifier *notifier
	hook     func(op, key string) error // nil outside tests; see hook.go
	reads    func(op, key string)       // nil outside tests; see hook.go
}

// Digest is what Put found out about the bytes it stored. SHA256 is in lowercase hexadecimal
// digits.
type Digest struct {
	Size   int64
	SHA256 string
}

// OpenBucket returns a Store over any bucket with sound conditional writes.
func OpenBucket(b *blob.Bucket, also Extension) *Store {
	return &Store{bucket: b, driver: newCloud(b, also), notifier: newNotifier()}
}

// Close releases the bucket.
func (s *Store) Close() error { return s.bucket.Close() }

// Put streams r into the blob at key and makes it durable. After an error, of r or of the bucket,
// nothing is stored there and an older blob is untouched.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) (Digest, error) {
	in := &digester{r: r, hash: sha256.New()}
	if err := s.put(ctx, key, in, nil); err != nil {
		return Digest{}, err
	}
	s.notifier.notify(key)
	return Digest{Size: in.n, SHA256: hex.EncodeToString(in.hash.Sum(nil))}, nil
}

// PutEarly is Put for what others wait for: they can read it, and those who watch are told, before
// it is durable, which it is when this returns. After an error nothing new is stored there; an
// older blob may be gone as well. Should the power fail in between, a directory may keep a blob
// that is cut short. The key is to be one of a record.
func (s *Store) PutEarly(ctx context.Context, key string, r io.Reader) error {
	return s.put(ctx, key, r, func() { s.notifier.notify(key) })
}

func (s *Store) put(ctx context.Context, key string, r io.Reader, seen func()) error {
	name, err := s.change(ctx, "put", key)
	if err != nil {
		return err
	}
	if err := s.driver.put(ctx, name, r, seen); err != nil {
		return s.kind(err, "write", key)
	}
	return nil
}

// digester hashes what is read. It hides the WriteTo of the reader, which would bypass it.
type digester struct {
	r    io.Reader
	hash hash.Hash
	n    int64
}

func (d *digester) Read(p []byte) (int, error) {
	n, err := fill(d.r, p)
	d.hash.Write(p[:n])
	d.n += int64(n)
	return n, err
}

// fill reads until p is full or r ends.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	return n, err
}

// Create writes a record if there is none at key; when there is one the error is of kind
// job.ErrExists. Two writers of one key never both succeed, and a nil error means that data is
// stored, durably.
func (s *Store) Create(ctx context.Context, key string, data []byte) error {
	name, err := s.change(ctx, "create", key)
	if err != nil {
		return err
	}
	err = s.driver.create(ctx, name, data)
	if err == nil {
		s.notifier.notify(key)
	}
	return err
}

// Mark makes sure that an empty record exists at key.
func (s *Store) Mark(ctx context.Context, key string) error {
	name, err := s.change(ctx, "mark", key)
	if err != nil {
		return err
	}
	err = s.driver.create(ctx, name, nil)
	if errors.Is(err, job.ErrExists) {
		return nil
	}
	if err == nil {
		s.notifier.notify(key)
	}
	return err
}

// List returns at most limit keys that begin with prefix and come after the key after, in ascending
// order. On a directory it costs what it returns where keys are spread over folders. It is for
// records, whose keys hold nothing that the driver stores under another name.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	s.noteRead("list", prefix)
	return s.driver.list(ctx, prefix, after, limit)
}

// Remove deletes the blob at key; a missing one is no error.
func (s *Store) Remove(ctx context.Context, key string) error {
	name, err := s.change(ctx, "remove", key)
	if err != nil {
		return err
	}
	err = s.driver.remove(ctx, name)
	if err == nil {
		s.notifier.notify(key)
	}
	return err
}

// RemoveAll deletes every blob under the folder prefix, which must end with a slash.
func (s *Store) RemoveAll(ctx context.Context, prefix string) error {
	if !strings.HasSuffix(prefix, "/") || prefix == "/" {
		return fmt.Errorf("remove all of %q: %w: not a folder", prefix, job.ErrInvalid)
	}
	name, err := s.change(ctx, "removeAll", strings.TrimSuffix(prefix, "/"))
	if err != nil {
		return err
	}
	err = s.driver.removeAll(ctx, name+"/")
	if err == nil {
		s.notifier.notify(prefix)
	}
	return err
}

// IsDir reports whether the bucket is a directory.
func (s *Store) IsDir() bool { _, ok := s.driver.(*directory); return ok }

// Free returns how many bytes can still be stored, and false where the bucket knows no such
// number.
func (s *Store) Free() (int64, bool) { return s.driver.free() }

// Sweep removes what writers left that died longer than age ago. It is never visible, but takes
// room.
func (s *Store) Sweep(ctx context.Context, age time.Duration) error { return s.driver.sweep(ctx, age) }

// noteRead tells a test of a read.
func (s *Store) noteRead(op, key string) {
	if s.reads != nil {
		s.reads(op, key)
	}
}

// change is what every change begins with. It returns the name that the driver knows the key by.
func (s *Store) change(ctx context.Context, op, key string) (string, error) {
	name, err := encode(key)
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("%s %s: %w", op, key, err)
	}
	if s.hook != nil {
		if err := s.hook(op, key); err != nil {
			return "", fmt.Errorf("%s %s: %w", op, key, err)
		}
	}
	return name, nil
}
