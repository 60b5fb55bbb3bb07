package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
// marks, and new folders above a record, last with the next record: ext4, XFS and ZFS keep changes
// of names in order. A file system that does not may lose them with the power.
type directory struct {
	root    string
	bucket  *blob.Bucket
	buffers sync.Pool     // of *[copyBuffer]byte
	large   chan struct{} // places for those that are used
}

var _ driver = (*directory)(nil)

const tempSuffix = ".tmp"

// attempts bounds how often a writer makes a folder anew that was pruned before the writer used it.
const attempts = 100

// unfinished is what fileblob calls a blob in the making: after the blob, the time and its suffix.
var unfinished = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$`) })

// tempDir is the folder for records in the making. fileblob's own temporary files lie next to what
// they become, in folders that go with their jobs.
const tempDir = ".tmp"

// create links a finished temporary file to its name. link(2) is the atomic step: fileblob's own
// conditional write is a stat and a rename, of which several can win.
func (d *directory) create(_ context.Context, key string, data []byte) error {
	path := d.path(key)
	// A folder can be pruned between its making and its use.
	var err error
	for range attempts {
		if err = os.MkdirAll(filepath.Dir(path), dirMode); isPruned(err) {
			err = fmt.Errorf("make its folder: %v", err) //nolint:errorlint // it is the folder that exists, not the record
			continue
		}
		if err == nil {
			err = d.createIn(path, data)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create %s: %w", key, job.ErrExists)
	}
	return d.kindOrNil(err, "create", key)
}

// isPruned reports whether making a folder failed because one was removed meanwhile. MkdirAll says
// that a folder exists when that is gone again by the time it looks; a file in its place would be
// another error.
func isPruned(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) }

func (d *directory) createIn(path string, data []byte) error {
	if len(data) == 0 { // has no content that could be seen half written
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return f.Close()
	}
	temp, err := d.temporary()
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Link(temp.Name(), path)
	}
	if err != nil {
		return err
	}
	// The folder may be gone by now, but only with the record: it existed, and must not come back.
	if err := syncDir(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *directory) temporary() (*os.File, error) {
	dir := filepath.Join(d.root, tempDir)
	temp, err := os.CreateTemp(dir, "record-*"+tempSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return nil, err
		}
		return os.CreateTemp(dir, "record-*"+tempSuffix)
	}
	return temp, err
}

// sweep removes the temporary files of writers that died.
func (d *directory) sweep(_ context.Context, age time.Duration) error {
	dir := filepath.Join(d.root, tempDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep temporary files: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < age {
			continue // it has just become a record
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep temporary files: %w", err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d *directory) list(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	l := lister{ctx: ctx, root: d.root, prefix: prefix, after: after, limit: limit, keys: []string{}}
	folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
	if err := l.walk(folder); err != nil {
		return nil, d.kindOrNil(err, "list", prefix)
	}
	return l.keys, nil
}

// lister walks a tree in the order of its keys and leaves out the folders that cannot hold any it
// wants.
type lister struct {
	ctx                 context.Context
	root, prefix, after string
	limit               int
	keys                []string
}

func (l *lister) walk(folder string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(l.root, filepath.FromSlash(folder)))
	if errors.Is(err, fs.ErrNotExist) || isInTheWay(err) {
		return nil // never written, or pruned meanwhile
	}
	if err != nil {
		return err
	}
	for _, name := range keyOrder(entries) {
		if len(l.keys) >= l.limit {
			return nil
		}
		key := folder + name
		if strings.HasSuffix(name, "/") {
			if l.mayHold(key) && key != tempDir+"/" {
				if err := l.walk(key); err != nil {
					return err
				}
			}
		} else if strings.HasPrefix(key, l.prefix) && key > l.after && !unfinished().MatchString(name) {
			l.keys = append(l.keys, key)
		}
	}
	return nil
}

// mayHold reports whether a wanted key can begin with folder.
func (l *lister) mayHold(folder string) bool {
	if !strings.HasPrefix(folder, l.prefix) && !strings.HasPrefix(l.prefix, folder) {
		return false
	}
	return folder > l.after || strings.HasPrefix(l.after, folder)
}

// keyOrder returns the names with folders ending in a slash, sorted as the keys below them are.
func keyOrder(entries []fs.DirEntry) []string {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
		if e.IsDir() {
			names[i] += "/"
		}
	}
	slices.Sort(names)
	return names
}

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

// put makes the bytes durable before they get their name, or when they were seen: fileblob never
// syncs.
func (d *directory) put(ctx context.Context, key string, r io.Reader, seen func()) error {
	// Cancelling the writer's context is the one portable way to give up a blob: Close would commit
	// it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, file, err := d.writer(ctx, key)
	if err != nil {
		return err
	}
	n, err := d.copy(w, r)
	if err == nil && n > 0 && seen == nil { // what is empty cannot be half written
		err = file.Sync()
	}
	if err != nil {
		cancel()
		_ = w.Close() // reports the cancellation
		return err
	}
	if err := w.Close(); err != nil || seen == nil {
		return err
	}
	seen()
	return d.flush(ctx, key)
}

// flush makes a blob durable that has its name already. After an error it is gone.
func (d *directory) flush(ctx context.Context, key string) error {
	f, err := os.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed by who has seen it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return errors.Join(err, d.remove(ctx, key))
	}
	return nil
}

// largeCopies is how many blobs are copied with large buffers at a time. Clients that stall hold
// theirs, so that more get small ones.
const (
	largeCopies = 64
	smallBuffer = 16 << 10
)

// copy is io.Copy with a buffer that was used before: a small file needs as much as a large one.
func (d *directory) copy(w io.Writer, r io.Reader) (int64, error) {
	select {
	case d.large <- struct{}{}:
		defer func() { <-d.large }()
	default:
		return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, smallBuffer))
	}
	buffer, ok := d.buffers.Get().(*[copyBuffer]byte)
	if !ok {
		buffer = new([copyBuffer]byte)
	}
	defer d.buffers.Put(buffer)
	// The struct around the writer hides ReadFrom, which would take a buffer of its own.
	return io.CopyBuffer(struct{ io.Writer }{w}, r, buffer[:])
}

// writer begins a blob, whose folder can be pruned between its making and its use.
func (d *directory) writer(ctx context.Context, key string) (w *blob.Writer, file *os.File, err error) {
	opts := &blob.WriterOptions{
		ContentType: "application/octet-stream", DisableContentTypeDetection: true,
		BeforeWrite: func(as func(any) bool) error {
			if !as(&file) {
				return errors.New("the driver of directories gives no file")
			}
			return nil
		},
	}
	for range attempts {
		if w, err = d.bucket.NewWriter(ctx, key, opts); !isPruned(err) {
			break
		}
	}
	return w, file, err
}

func (d *directory) open(ctx context.Context, key string, offset, length int64) (*Reader, error) {
	r, err := d.bucket.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, missing(err)
	}
	out := &Reader{ReadCloser: r, Info: Info{Size: r.Size(), ModTime: r.ModTime()}}
	var raw io.Reader
	if offset == 0 && length < 0 && r.As(&raw) {
		out.file, _ = raw.(*os.File)
	}
	return out, nil
}

func (d *directory) stat(ctx context.Context, key string) (Info, error) {
	attrs, err := d.bucket.Attributes(ctx, key)
	if err != nil {
		return Info{}, missing(err)
	}
	return Info{Size: attrs.Size, ModTime: attrs.ModTime}, nil
}

// missing is the error of reading: where a file is in the way of a folder there is nothing to read.
func missing(err error) error {
	if isInTheWay(err) {
		return job.ErrNotFound
	}
	return err
}

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
