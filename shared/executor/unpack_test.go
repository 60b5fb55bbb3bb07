package executor

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/job"
)

// withArchive gives a task an archive in addition to its files, as admission records it.
func withArchive(t *testing.T, task *Task, format string, data []byte) {
	t.Helper()
	sum := sha256.Sum256(data)
	f := job.File{Name: "p.bin", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Archive: format}
	limits := archive.Limits{Entries: 1000, Unpacked: 1 << 30}
	ignore := func(archive.Entry, io.Reader) error { return nil }
	var found archive.Summary
	var err error
	if format == job.Zip {
		found, err = archive.ReadZip(bytes.NewReader(data), f.Size, limits, ignore)
	} else {
		found, err = archive.ReadTar(bytes.NewReader(data), format, limits, ignore)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Entries, f.Unpacked = found.Entries, found.Unpacked
	files := artifacts{"a.py": "print(1)", "p.bin": string(data)}
	task.From, task.Index.Files = files, append(task.Index.Files, f)
	task.Index.CreatedAt = time.Now().Add(-time.Hour)
}

// TestArchives runs a program beside the content of an archive of each format, twice as a retry does.
func TestArchives(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		t.Run(format, func(t *testing.T) {
			var seen []string
			task, to := newTask(t, func(dir string, _ Command, _, _ <-chan struct{}) Exit {
				text, err := os.ReadFile(filepath.Join(dir, "pkg/sub/m.py"))
				info, err2 := os.Stat(filepath.Join(dir, "run"))
				if err = errors.Join(err, err2); err != nil {
					return Exit{Code: 1, Message: err.Error()}
				}
				seen = append(seen, string(text)+info.Mode().String())
				changed := filepath.Join(dir, "pkg/changed")
				return Exit{Message: errText(errors.Join(os.WriteFile(filepath.Join(dir, "pkg/new"), nil, 0o600),
					os.WriteFile(changed, []byte("y"), 0o600)))}
			})
			task.Index.Runtime, task.Index.Entrypoint = "binary", "run"
			withArchive(t, task, format, archivetest.Make(t, format, "run", "#!/bin/sh\n", "pkg/sub/m.py", "x = 1",
				"pkg/changed", "x", "results/old.txt", "of an earlier time"))
			for range 2 {
				got := task.Run(t.Context())
				if got.Exit != (Exit{}) {
					t.Fatalf("the attempt ended with %+v", got.Exit)
				}
				want := &job.NotCollected{Count: 2, Names: []string{"pkg/changed", "pkg/new"}}
				if diff := cmp.Diff(want, got.Outputs.NotCollected); diff != "" {
					t.Errorf("not collected (-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff([]string{"x = 1-rwxr-xr-x", "x = 1-rwxr-xr-x"}, seen); diff != "" {
				t.Errorf("the program saw (-want +got):\n%s", diff)
			}
			if to.stored["old.txt"] != "of an earlier time" {
				t.Errorf("stored %q", to.stored)
			}
			left, err := os.ReadDir(task.Workspace.root)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range left {
				if e.Name() == archiveFile {
					t.Error("the zip file is left in the workspace")
				}
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestUnpackedLinks are no leftovers, unless the program replaced them.
func TestUnpackedLinks(t *testing.T) {
	task, _ := newTask(t, func(dir string, _ Command, _, _ <-chan struct{}) Exit {
		link := filepath.Join(dir, "replaced")
		return Exit{Message: errText(errors.Join(os.Remove(link), os.WriteFile(link, nil, 0o600),
			os.Symlink("/etc", filepath.Join(dir, "new"))))}
	})
	data := archivetest.Tar(t, []tar.Header{
		{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}, {Name: "hard", Typeflag: tar.TypeLink, Linkname: "f"},
		{Name: "soft", Typeflag: tar.TypeSymlink, Linkname: "f"},
		{Name: "replaced", Typeflag: tar.TypeSymlink, Linkname: "f"},
	}, map[string]string{"f": "text"})
	withArchive(t, task, job.Tar, data)
	got := task.Run(t.Context())
	want := &job.NotCollected{Count: 2, Names: []string{"new", "replaced"}}
	if diff := cmp.Diff(want, got.Outputs.NotCollected); diff != "" || got.Exit != (Exit{}) {
		t.Errorf("%+v, not collected (-want +got):\n%s", got.Exit, diff)
	}
}

// TestBadArchives gives the program other archives than those that were accepted.
func TestBadArchives(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		for name, test := range map[string]struct {
			change func(f *job.File, data []byte) []byte
			want   string
		}{
			"cut off":      {func(_ *job.File, data []byte) []byte { return data[:len(data)-30] }, ""},
			"longer":       {func(_ *job.File, data []byte) []byte { return append(data, 0) }, ""},
			"changed":      {func(_ *job.File, data []byte) []byte { data[len(data)/2] ^= 0x10; return data }, ""},
			"more entries": {func(f *job.File, data []byte) []byte { f.Entries = 1; return data }, "MAX_ARCHIVE_ENTRIES"},
			"more bytes":   {func(f *job.File, data []byte) []byte { f.Unpacked--; return data }, "MAX_UNPACKED_BYTES"},
			"empty":        {func(*job.File, []byte) []byte { return nil }, ""},
		} {
			task, to := newTask(t, says("it ran"))
			data := archivetest.Make(t, format, "m.py", strings.Repeat("x = 1\n", 500), "n.py", "y")
			withArchive(t, task, format, data)
			files, _ := task.From.(artifacts)
			files["p.bin"] = string(test.change(&task.Index.Files[1], bytes.Clone(data)))
			got := task.Run(t.Context())
			if got.Exit.Reason != job.ReasonFetchFailed || !strings.Contains(got.Exit.Message, test.want) ||
				to.stored["stdout.log"] != "" {
				t.Errorf("%s, %s: ended with %+v and wrote %q", format, name, got.Exit, to.stored["stdout.log"])
			}
		}
	}
}

// TestUnpackEnds cancels while an archive is unpacked.
func TestUnpackEnds(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		task, _ := newTask(t, says("it ran"))
		withArchive(t, task, format, archivetest.Make(t, format, "m.py", "x"))
		ctx, cancel := context.WithCancelCause(t.Context())
		task.From = opening{task.From, func() { cancel(ErrCancelled) }}
		if got := task.Run(ctx); got.Exit.Reason != job.ReasonCancelled {
			t.Errorf("%s: ended with %+v", format, got.Exit)
		}
	}
}

// opening calls a function before the archive is opened.
type opening struct {
	Artifacts
	before func()
}

func (o opening) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == "p.bin" {
		o.before()
	}
	return o.Artifacts.Open(ctx, name)
}

// TestSpoiledList has a program replace the list of what was unpacked, as it can in a pod.
func TestSpoiledList(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"removed": os.Remove,
		"garbage": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<20), 0o600) },
		"a link":  func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) },
		"a FIFO":  func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
		"endless": func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte("1 a\n"), 1<<20), 0o600)
		},
	} {
		task, to := newTask(t, func(dir string, _ Command, _, _ <-chan struct{}) Exit {
			return Exit{Message: errText(spoil(filepath.Join(filepath.Dir(dir), unpackedFile)))}
		})
		withArchive(t, task, job.Tar, archivetest.Files(t, "m.py", "x"))
		if got := task.Run(t.Context()); got.Exit != (Exit{}) || to.manifest == nil {
			t.Errorf("%s: ended with %+v", name, got.Exit)
		}
	}
}

// TestUnpackMemory unpacks a large archive into a deep tree.
func TestUnpackMemory(t *testing.T) {
	const size = 256 << 20
	dir := t.TempDir()
	path := filepath.Join(dir, "large.tar.zst")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(archivetest.Large(out, job.TarZstd, size, 2000), out.Close()); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, in)
	if err != nil {
		t.Fatal(err)
	}
	task, _ := newTask(t, nil)
	task.Index.Files = []job.File{{Name: "p.bin", Size: n, SHA256: hex.EncodeToString(hash.Sum(nil)), Archive: job.TarZstd,
		Entries: 100_000, Unpacked: size}}
	task.From = fromFile(path)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := task.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	// All that was allocated, so the peak is less.
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 128<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
}

type fromFile string

func (f fromFile) Open(context.Context, string) (io.ReadCloser, error) { return os.Open(string(f)) }
