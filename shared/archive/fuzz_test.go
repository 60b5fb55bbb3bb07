package archive_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/job"
)

// FuzzArchive unpacks what it gets. Whatever that is, nothing may appear outside of the folder, the
// links must stay in it, the bounds must hold, and reading twice must find the same.
func FuzzArchive(f *testing.F) {
	for _, format := range job.ArchiveFormats() {
		f.Add(archivetest.Make(f, format, "main.py", "print(1)", "a/b", strings.Repeat("0123456789", 60)))
	}
	f.Add(archivetest.Zip(f, "a", "b", "../c", "d"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := archive.Limits{Entries: 20, Unpacked: 1 << 16}
		_, first, err := read(data, l, ignore)
		if err != nil && !errors.Is(err, job.ErrInvalid) {
			t.Fatalf("not a fault: %v", err)
		}
		parent := t.TempDir()
		dir := filepath.Join(parent, "files")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		u := &archive.Unpacker{Root: root}
		_, second, err := read(data, l, u.Visit)
		if err != nil {
			return
		}
		if first != second {
			t.Errorf("read %+v, then %+v", first, second)
		}
		if err := u.Finish(); err != nil {
			t.Fatalf("the links: %v", err)
		}
		inside(t, parent, dir)
	})
}

func inside(t *testing.T, parent, dir string) {
	t.Helper()
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 {
		t.Fatalf("beside the folder: %v, %v", entries, err)
	}
	n := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if n++; d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		target, err := filepath.EvalSymlinks(path)
		if err == nil && target != dir && !strings.HasPrefix(target, dir+"/") {
			t.Errorf("%s leads to %s", path, target)
		}
		return nil
	})
	if err != nil || n > 21 {
		t.Errorf("%d entries, %v", n, err)
	}
}

// FuzzZip compares what is read of a zip file with what archive/zip reads.
func FuzzZip(f *testing.F) {
	f.Add(archivetest.Zip(f, "main.py", "print(1)", "a/b", strings.Repeat("0123456789", 60)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if format, err := archive.Detect(data); err != nil || format != job.Zip {
			return
		}
		got := map[string]string{}
		_, _, err := read(data, archive.Limits{Entries: 20, Unpacked: 1 << 16}, func(e archive.Entry, r io.Reader) error {
			if e.Kind != archive.File {
				return nil
			}
			text, err := io.ReadAll(r)
			got[e.Name] = string(text)
			return err
		})
		if err != nil {
			return
		}
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Skip("archive/zip refuses more")
		}
		for _, entry := range z.File {
			name := strings.TrimPrefix(filepath.Clean("/"+entry.Name), "/")
			want, is := got[name]
			if !is {
				continue
			}
			r, err := entry.Open()
			if err != nil {
				continue
			}
			text, err := io.ReadAll(r)
			if err == nil && string(text) != want {
				t.Errorf("%s: got %q, archive/zip %q", name, want, text)
			}
		}
	})
}
