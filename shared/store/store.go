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
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"gocloud.dev/blob"

	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
)

// maxRecord bounds what Read takes into memory.
const maxRecord = 16 << 20

// copyBuffer is the memory that one stream into the bucket takes.
const copyBuffer = 256 << 10

// Store is a bucket. Its methods may be called concurrently. Errors are of the kinds of package
// job.
type Store struct {
	bucket   *blob.Bucket
	driver   driver
	notifier *notifier
	hook     Hook
}

// driver is what a kind of bucket does in its own way, since gocloud's portable API either cannot say it
// or, on a directory, does it unsoundly or slowly. Errors of create, list, remove, removeAll and
// sweep have their kinds.
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

// Info describes one blob.
type Info struct {
	Size    int64
	ModTime time.Time
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
	n, err := d.r.Read(p)
	d.hash.Write(p[:n])
	d.n += int64(n)
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

// Read returns a whole record.
func (s *Store) Read(ctx context.Context, key string) ([]byte, error) {
	r, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := budget.TakeRecord(ctx, r.Size); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return nil, s.kind(err, "read", key)
	}
	if len(data) > maxRecord {
		return nil, fmt.Errorf("read %s: the record is larger than %d bytes", key, maxRecord)
	}
	return data, nil
}

// Reader reads a blob or a part of it.
type Reader struct {
	io.ReadCloser
	Info // Size is that of the whole blob
	file *os.File
}

// File returns the open file behind a whole blob of a directory, and nil elsewhere. The Reader
// still closes it.
func (r *Reader) File() *os.File { return r.file }

// Open reads length bytes of the blob from offset on; a negative length is all the rest.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (*Reader, error) {
	name, err := encode(key)
	if err != nil {
		return nil, err
	}
	r, err := s.driver.open(ctx, name, offset, length)
	if err != nil {
		return nil, s.kind(err, "read", key)
	}
	r.ReadCloser = &kindReader{r.ReadCloser, s, key}
	return r, nil
}

// kindReader gives the errors of reading their kinds.
type kindReader struct {
	io.ReadCloser
	store *Store
	key   string
}

func (r *kindReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.store.kind(err, "read", r.key)
	}
	return n, err
}

// Stat describes the blob at key.
func (s *Store) Stat(ctx context.Context, key string) (Info, error) {
	name, err := encode(key)
	if err != nil {
		return Info{}, err
	}
	info, err := s.driver.stat(ctx, name)
	if err != nil {
		return Info{}, s.kind(err, "stat", key)
	}
	return info, nil
}

// Exists reports whether there is a blob at key.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	_, err := s.Stat(ctx, key)
	if errors.Is(err, job.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// List returns at most limit keys that begin with prefix and come after the key after, in ascending
// order. On a directory it costs what it returns where keys are spread over folders. It is for
// records, whose keys hold nothing that the driver stores under another name.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
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

// MaxLinkSize is the most bytes that a PUT to a signed URL can bring: S3's own limit, the least of
// the three clouds'.
const MaxLinkSize = 5 << 30

// Link is what a signed URL is for. It opens one blob, for a time, to whoever has it.
type Link struct {
	Method string        // GET or PUT
	Expiry time.Duration // how long it is valid
	// ContentType and Disposition are headers of the answer to a GET.
	ContentType, Disposition string
	// Size is what a PUT must bring.
	Size int64
}

// Link returns a signed URL of the blob at key, and false where the bucket has none.
func (s *Store) Link(ctx context.Context, key string, l Link) (url string, ok bool, err error) {
	name, err := encode(key)
	if err != nil {
		return "", false, err
	}
	return s.driver.link(ctx, name, l)
}

// LinkHeaders are what a client must send with a PUT to a signed URL.
func (s *Store) LinkHeaders() map[string]string { return s.driver.linkHeaders() }

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

// escaped is what fileblob's own escapes look like, with or without the mark that encode adds.
var escaped = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`__(~*0x)`) })

// encode keeps keys out of fileblob's way, which takes a file that ends with ".attrs" for its own,
// joins a segment that ends with ".." to the next, and escapes what looks like an escape of its
// own: each of them gets one more "~". A key that fileblob escapes otherwise is refused, since the
// driver of directories would look for it elsewhere.
func encode(key string) (string, error) {
	if !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' }) {
		return "", fmt.Errorf("key %q: %w: control characters or no UTF-8", key, job.ErrInvalid)
	}
	segments := strings.Split(escaped().ReplaceAllString(key, "__~$1"), "/")
	for i, s := range segments {
		if s == "" || s == "." {
			return "", fmt.Errorf("key %q: %w: an empty segment", key, job.ErrInvalid)
		}
		if base := strings.TrimRight(s, "~"); strings.HasSuffix(base, ".attrs") || strings.HasSuffix(base, "..") {
			segments[i] = s + "~"
		}
	}
	return strings.Join(segments, "/"), nil
}

// kind wraps an error of the bucket in the kind that callers act on.
func (s *Store) kind(err error, verb, key string) error {
	return kindOf(err, s.driver.kindOf(err), verb, key)
}

func kindOf(err, kind error, verb, key string) error {
	switch {
	case isKnown(err) || kind == nil:
		return fmt.Errorf("%s %s: %w", verb, key, err)
	case errors.Is(kind, job.ErrNotFound), errors.Is(kind, job.ErrExists):
		return fmt.Errorf("%s %s: %w", verb, key, kind)
	}
	return fmt.Errorf("%s %s: %w: %w", verb, key, kind, err)
}

// isKnown reports whether err, such as one of the reader given to Put, has its kind already.
func isKnown(err error) bool {
	for _, known := range []error{job.ErrInvalid, job.ErrTooLarge, job.ErrUnavailable, job.ErrExhausted, context.Canceled,
		context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
