package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"gocloud.dev/blob"

	"go-job-orchestrator/shared/job"
)

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
