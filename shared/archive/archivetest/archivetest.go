// Package archivetest makes archives for tests.
package archivetest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"go-job-orchestrator/shared/job"
)

// Tar is a tar file with these headers. The body of each is its entry of contents, if there is one.
func Tar(tb testing.TB, headers []tar.Header, contents map[string]string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := contents[h.Name]
		if h.Size == 0 {
			h.Size = int64(len(text))
		}
		check(tb, w.WriteHeader(&h))
		_, err := w.Write([]byte(text))
		check(tb, err)
	}
	check(tb, w.Close())
	return b.Bytes()
}

// Files is a tar file of regular files: name, content, name, content and so on.
func Files(tb testing.TB, pairs ...string) []byte {
	tb.Helper()
	var headers []tar.Header
	contents := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, tar.Header{Name: pairs[i], Mode: 0o644, Typeflag: tar.TypeReg})
		contents[pairs[i]] = pairs[i+1]
	}
	return Tar(tb, headers, contents)
}

// Zip is a zip file of regular files: name, content, name, content and so on.
func Zip(tb testing.TB, pairs ...string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		f, err := w.Create(pairs[i])
		check(tb, err)
		_, err = f.Write([]byte(pairs[i+1]))
		check(tb, err)
	}
	check(tb, w.Close())
	return b.Bytes()
}

// Gzip compresses data.
func Gzip(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	check(tb, err)
	check(tb, w.Close())
	return b.Bytes()
}

// Zstd compresses data.
func Zstd(tb testing.TB, data []byte, options ...zstd.EOption) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, options...)
	check(tb, err)
	_, err = w.Write(data)
	check(tb, err)
	check(tb, w.Close())
	return b.Bytes()
}

// Make is an archive of a format with regular files.
func Make(tb testing.TB, format string, pairs ...string) []byte {
	tb.Helper()
	switch format {
	case job.Zip:
		return Zip(tb, pairs...)
	case job.TarGzip:
		return Gzip(tb, Files(tb, pairs...))
	case job.TarZstd:
		return Zstd(tb, Files(tb, pairs...))
	}
	return Files(tb, pairs...)
}

// Dir is an archive of a format with all files and folders below dir, with their modes. Each name
// gets the prefix.
func Dir(tb testing.TB, format, dir, prefix string) []byte {
	tb.Helper()
	var tarred, zipped bytes.Buffer
	tw, zw := tar.NewWriter(&tarred), zip.NewWriter(&zipped)
	check(tb, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		check(tb, err)
		name, err := filepath.Rel(dir, path)
		check(tb, err)
		name = prefix + filepath.ToSlash(name)
		if d.IsDir() {
			check(tb, tw.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}))
			return nil
		}
		data, err := os.ReadFile(path)
		check(tb, err)
		check(tb, tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(info.Mode().Perm()),
			Size: int64(len(data)), ModTime: time.Unix(0, 0)}))
		_, err = tw.Write(data)
		check(tb, err)
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(info.Mode())
		w, err := zw.CreateHeader(h)
		check(tb, err)
		_, err = w.Write(data)
		return err
	}))
	check(tb, tw.Close())
	check(tb, zw.Close())
	switch format {
	case job.Zip:
		return zipped.Bytes()
	case job.TarGzip:
		return Gzip(tb, tarred.Bytes())
	case job.TarZstd:
		return Zstd(tb, tarred.Bytes())
	}
	return tarred.Bytes()
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Large writes a tar archive of so many bytes, which hardly compress below a hundredth, in files of a
// tree of so many folders.
func Large(to io.Writer, format string, size int64, folders int) error {
	out, done := to, func() error { return nil }
	switch format {
	case job.TarGzip:
		z, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
		if err != nil {
			return err
		}
		out, done = z, z.Close
	case job.TarZstd:
		z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		out, done = z, z.Close
	}
	block := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{})
	w := tar.NewWriter(out)
	each := size / int64(folders)
	for i := range folders {
		n := each
		if i == folders-1 {
			n = size - each*int64(folders-1)
		}
		name := fmt.Sprintf("%s%d/f", strings.Repeat("d/", i%40), i)
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: n}); err != nil {
			return err
		}
		for n > 0 {
			_, _ = random.Read(block[:1<<10]) // never fails
			k, err := w.Write(block[:min(n, int64(len(block)))])
			if n -= int64(k); err != nil {
				return err
			}
		}
	}
	return errors.Join(w.Close(), done())
}
