package download

import (
	"archive/tar"
	"archive/zip"
	"compress/flate"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"time"

	"go-job-orchestrator/shared/job"
)

// Format is a kind of archive.
type Format struct {
	Extension   string
	ContentType string
	open        func(w io.Writer, modified time.Time) archive
}

// Formats lists the kinds of archives by the name that users ask for.
func Formats() map[string]Format {
	return map[string]Format{
		"zip":    {".zip", "application/zip", newZip},
		"tar.gz": {".tar.gz", "application/gzip", newTar},
	}
}

// archive takes files one after the other.
type archive interface {
	// add returns where the content of the next file goes.
	add(f job.File) (io.Writer, error)
	// Close ends the archive; without it what was written is none.
	Close() error
}

// copyBuffer is the memory that copying takes; nothing of the files is kept.
const copyBuffer = 128 << 10

// Write streams an archive of the files to w; key tells where each lies. After an error what was
// written is no archive, and must not end like one.
func (f Format) Write(
	ctx context.Context, w io.Writer, b Bucket, key func(name string) string, files []job.File, modified time.Time,
) error {
	a := f.open(w, modified.UTC().Truncate(time.Second))
	buffer := make([]byte, copyBuffer)
	for _, file := range files {
		if err := addFile(ctx, a, b, key(file.Name), file, buffer); err != nil {
			return fmt.Errorf("archive %s: %w", file.Name, err)
		}
	}
	return a.Close()
}

func addFile(ctx context.Context, a archive, b Bucket, key string, f job.File, buffer []byte) error {
	in, err := b.Open(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer in.Close()
	if in.Size != f.Size {
		return &changedError{stored: in.Size, recorded: f.Size}
	}
	out, err := a.add(f)
	if err != nil {
		return err
	}
	// The structs hide ReadFrom and WriteTo, which would take buffers of their own.
	n, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buffer)
	if err == nil && n != f.Size {
		err = &changedError{stored: n, recorded: f.Size}
	}
	return err
}

// level is that of the compression: an archive is made at every download, by a function with a
// share of a CPU.
const level = flate.BestSpeed

type zipArchive struct {
	*zip.Writer
	modified time.Time
}

func newZip(w io.Writer, modified time.Time) archive {
	z := zip.NewWriter(w)
	// A compressor takes a megabyte; one does, since the files come one after the other.
	var shared *flate.Writer
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		if shared != nil {
			shared.Reset(w)
			return shared, nil
		}
		var err error
		shared, err = flate.NewWriter(w, level)
		return shared, err
	})
	return &zipArchive{z, modified}
}

func (a *zipArchive) add(f job.File) (io.Writer, error) {
	h := &zip.FileHeader{Name: f.Name, Modified: a.modified, Method: zip.Deflate}
	if f.Size == 0 || isCompressed(ContentType(f)) {
		h.Method = zip.Store
	}
	h.SetMode(f.Perm())
	return a.CreateHeader(h)
}

type tarArchive struct {
	*tar.Writer
	gzip     *gzip.Writer
	modified time.Time
}

func newTar(w io.Writer, modified time.Time) archive {
	z, err := gzip.NewWriterLevel(w, level)
	if err != nil { // only a level that does not exist does that
		z = gzip.NewWriter(w)
	}
	return &tarArchive{tar.NewWriter(z), z, modified}
}

func (a *tarArchive) add(f job.File) (io.Writer, error) {
	// PAX, since the older formats have names without an encoding and sizes below 8 GiB.
	return a.Writer, a.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: f.Name, Size: f.Size, Mode: int64(f.Perm()), ModTime: a.modified, Format: tar.FormatPAX,
	})
}

func (a *tarArchive) Close() error {
	if err := a.Writer.Close(); err != nil {
		return err
	}
	return a.gzip.Close()
}
