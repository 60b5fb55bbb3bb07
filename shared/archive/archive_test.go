package archive_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/job"
)

func limits() archive.Limits { return archive.Limits{Entries: 1000, Unpacked: 1 << 30} }

// read reads an archive of whatever format it has.
func read(data []byte, l archive.Limits, visit archive.Visit) (string, archive.Summary, error) {
	format, err := archive.Detect(data[:min(len(data), archive.HeadBytes)])
	if err != nil {
		return "", archive.Summary{}, err
	}
	if format == job.Zip {
		s, err := archive.ReadZip(bytes.NewReader(data), int64(len(data)), l, visit)
		return format, s, err
	}
	s, err := archive.ReadTar(bytes.NewReader(data), format, l, visit)
	return format, s, err
}

// drain is a visit that reads everything.
func drain(_ archive.Entry, content io.Reader) error {
	_, err := io.Copy(io.Discard, content)
	return err
}

// ignore is a visit that reads nothing.
func ignore(archive.Entry, io.Reader) error { return nil }

// unpack unpacks an archive and returns what is in the folder: content of files, with x: before that
// of an executable one, and -> before the target of a link.
func unpack(t *testing.T, data []byte, program string) (map[string]string, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	recorded := map[string]int64{}
	modified := time.Unix(1_000_000_000, 0)
	u := &archive.Unpacker{Root: root, Modified: modified, Program: program, Record: func(name string, size int64) error {
		recorded[name] = size
		return nil
	}}
	_, _, err = read(data, limits(), u.Visit)
	if err == nil {
		err = u.Finish()
	}
	got := map[string]string{}
	whole := err == nil
	if walkErr := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		size, isRecorded := recorded[name]
		switch {
		case info.IsDir():
			got[name+"/"] = ""
			return nil
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			got[name], size = "->"+target, -size-1+info.Size()
			if !isRecorded || size != info.Size() {
				t.Errorf("%s is not recorded as a link", name)
			}
			return err
		}
		text, err := os.ReadFile(path)
		got[name] = string(text)
		if info.Mode().Perm()&0o111 != 0 {
			got[name] = "x:" + got[name]
		}
		if info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeSticky) != 0 {
			t.Errorf("%s has the mode %s", name, info.Mode())
		}
		if whole && !info.ModTime().Equal(modified) {
			t.Errorf("%s was modified at %s", name, info.ModTime())
		}
		if whole && (!isRecorded || size != info.Size()) {
			t.Errorf("%s is recorded with %d bytes (%t)", name, size, isRecorded)
		}
		return err
	}); walkErr != nil {
		t.Fatal(walkErr)
	}
	return got, err
}

// TestFormats reads and unpacks the same files in every format.
func TestFormats(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		t.Run(format, func(t *testing.T) {
			data := archivetest.Make(t, format, "main.py", "print(1)", "pkg/__init__.py", "", "pkg/a/b.py", "x = 1",
				"Main.py", "case matters")
			got, sum, err := read(data, limits(), ignore)
			if err != nil || got != format || sum != (archive.Summary{Entries: 6, Unpacked: 25}) {
				t.Fatalf("got %s %+v, %v", got, sum, err)
			}
			files, err := unpack(t, data, "main.py")
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"main.py": "x:print(1)", "Main.py": "case matters", "pkg/": "", "pkg/__init__.py": "",
				"pkg/a/": "", "pkg/a/b.py": "x = 1"}
			if diff := cmp.Diff(want, files); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCutOff cuts archives off at every place.
func TestCutOff(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		data := archivetest.Make(t, format, "main.py", "print(1)", "a/b", strings.Repeat("0123456789", 60))
		step := 1
		if len(data) > 2000 {
			step = 37
		}
		for n := 0; n < len(data); n += step {
			if format == job.Tar && n >= 3072 {
				break // the zeros behind the first of the two last blocks
			}
			if _, _, err := read(data[:n], limits(), drain); !errors.Is(err, job.ErrInvalid) {
				t.Errorf("%s: the first %d of %d bytes: %v", format, n, len(data), err)
			}
		}
	}
}

// TestSource demands that an error of the source is not taken for one of the archive.
func TestSource(t *testing.T) {
	broken := errors.New("the client went away")
	for _, format := range job.ArchiveFormats() {
		data := archivetest.Make(t, format, "main.py", "print(1)", "a/b", strings.Repeat("0123456789", 60))
		if format == job.Zip {
			_, err := archive.ReadZip(brokenAt{broken}, int64(len(data)), limits(), drain)
			if !errors.Is(err, broken) {
				t.Errorf("%s: %v", format, err)
			}
			continue
		}
		for _, n := range []int{1, 20, len(data) / 2, len(data) - 1} {
			r := io.MultiReader(bytes.NewReader(data[:n]), brokenReader{broken})
			if _, err := archive.ReadTar(r, format, limits(), drain); !errors.Is(err, broken) {
				t.Errorf("%s after %d bytes: %v", format, n, err)
			}
		}
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

type brokenAt struct{ err error }

func (r brokenAt) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// TestVisit demands that an error of visit is returned as it is.
func TestVisit(t *testing.T) {
	full := io.ErrUnexpectedEOF // which would be a fault of the archive
	for _, format := range job.ArchiveFormats() {
		fails := func(archive.Entry, io.Reader) error { return full }
		_, _, err := read(archivetest.Make(t, format, "a", "b"), limits(), fails)
		if err != full { //nolint:errorlint // exactly it
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestDetect(t *testing.T) {
	for head, want := range map[string]string{
		"": "is empty", "print(1)": "is not an archive", "\x00": "is not an archive",
		strings.Repeat("\x00", 512): "is not an archive", strings.Repeat("x", 512): "is not an archive",
		"BZh9": "bzip2", "\xfd7zXZ\x00": "xz", "7z\xbc\xaf\x27\x1c": "7z", "Rar!\x1a\x07": "rar",
		"PK\x05\x06": "without any files", "PK\x07\x08": "split", "\x7fELF": "is not an archive",
	} {
		format, err := archive.Detect([]byte(head))
		if !errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %q, %v; want %q", head, format, err, want)
		}
	}
}
