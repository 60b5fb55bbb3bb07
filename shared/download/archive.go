package download

import (
	"archive/tar"
	"archive/zip"
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
	write       func(a *archive, w io.Writer) error
}

// Formats lists the kinds of archives by the name that users ask for.
func Formats() map[string]Format {
	return map[string]Format{
		"zip":    {".zip", "application/zip", (*archive).zip},
		"tar.gz": {".tar.gz", "application/gzip", (*archive).tar},
	}
}

// archive is files on their way into an archive.
type archive struct {
	ctx      context.Context //nolint:containedctx // that of the request it serves
	source   Source
	key      func(name string) string
	files    []job.File
	modified time.Time
}

// Write streams an archive of the files to w; key tells where each lies. After an error what was written is no
// archive.
func (f Format) Write(ctx context.Context, w io.Writer, s Source, key func(name string) string, files []job.File, modified time.Time) error {
	return f.write(&archive{ctx, s, key, files, modified}, w)
}

func (a *archive) zip(w io.Writer) error {
	z := zip.NewWriter(w)
	for _, f := range a.files {
		header := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: a.modified}
		header.SetMode(0o644)
		entry, err := z.CreateHeader(header)
		if err == nil {
			err = a.copy(entry, f)
		}
		if err != nil {
			return fmt.Errorf("archive %s: %w", f.Name, err)
		}
	}
	return z.Close()
}

func (a *archive) tar(w io.Writer) error {
	g := gzip.NewWriter(w)
	t := tar.NewWriter(g)
	for _, f := range a.files {
		err := t.WriteHeader(&tar.Header{
			Name: f.Name, Size: f.Size, Mode: 0o644, ModTime: a.modified.Truncate(time.Second), Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		})
		if err == nil {
			err = a.copy(t, f)
		}
		if err != nil {
			return fmt.Errorf("archive %s: %w", f.Name, err)
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return g.Close()
}

func (a *archive) copy(w io.Writer, f job.File) error {
	in, err := a.source.Open(a.ctx, a.key(f.Name), 0, -1)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(w, in)
	if err == nil && n != f.Size {
		return errChanged
	}
	return err
}
