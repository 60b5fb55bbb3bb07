package download_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
)

// modified is the time of the files of archives.
func modified() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("", 3600)) }

// entry is one file of an archive.
type entry struct {
	Name, Content string
	Modified      time.Time
	Mode          fs.FileMode
	Deflated      bool // in a zip
}

// pack makes an archive of files, whose keys are key(name).
func pack(t *testing.T, f *ledgertest.Fixture, format string, files []job.File, w io.Writer) error {
	t.Helper()
	return download.Formats()[format].Write(t.Context(), w, f.Store, key, files, modified())
}

func key(name string) string { return "results/" + name }

// put stores files and returns what the records say of them, in order.
func put(t *testing.T, f *ledgertest.Fixture, contents map[string]string) []job.File {
	t.Helper()
	var files []job.File
	for name, content := range contents {
		d, err := f.Store.Put(t.Context(), key(name), strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, job.File{Name: name, Size: d.Size, SHA256: d.SHA256})
	}
	slices.SortFunc(files, func(a, b job.File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

func unpack(t *testing.T, format string, data []byte) []entry {
	t.Helper()
	var entries []entry
	add := func(e entry, r io.Reader) {
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		e.Content, e.Modified = string(content), e.Modified.UTC()
		entries = append(entries, e)
	}
	if format == "zip" {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			add(entry{Name: f.Name, Modified: f.Modified, Mode: f.Mode(), Deflated: f.Method == zip.Deflate}, r)
			r.Close()
		}
		return entries
	}
	g, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(g); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			t.Errorf("%s has type %c", h.Name, h.Typeflag)
		}
		add(entry{Name: h.Name, Modified: h.ModTime, Mode: h.FileInfo().Mode()}, r)
	}
}

// formats are the names of all formats.
func formats() []string { return []string{"zip", "tar.gz"} }

func TestArchives(t *testing.T) {
	contents := map[string]string{"stdout.log": strings.Repeat("line\n", 1000), "stderr.log": "", "pic.png": random(5000),
		"tool": "#!/bin/sh\n", "odd": "x", "c.tar.gz": "x"}
	for _, name := range []string{"naïve – 日本語 🎉.txt", strings.Repeat("ü", 100), "e\u0301", "\u202egnp.exe", "*",
		"trailing "} {
		contents[name] = name
	}
	for i := range 1000 {
		contents[fmt.Sprintf("dir%d/file%04d.txt", i%10, i)] = fmt.Sprintf("content %d", i)
	}
	// A program is unpacked as a program, and no file with more rights than that.
	modes := map[string]string{"tool": "0755", "odd": "6777"}
	stored := map[string]bool{"stderr.log": true, "pic.png": true, "c.tar.gz": true} // they would not become smaller
	ledgertest.Each(t, func(t *testing.T, f *ledgertest.Fixture) {
		files := put(t, f, contents)
		for i := range files {
			files[i].Mode = modes[files[i].Name]
		}
		for _, format := range formats() {
			var want []entry
			for _, file := range files {
				e := entry{file.Name, contents[file.Name], modified().UTC().Truncate(time.Second), 0o644,
					format == "zip" && !stored[file.Name]}
				if file.Name == "tool" {
					e.Mode = 0o755
				}
				want = append(want, e)
			}
			var archive bytes.Buffer
			if err := pack(t, f, format, files, &archive); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, unpack(t, format, archive.Bytes())); diff != "" {
				t.Errorf("%s (-want +got):\n%s", format, diff)
			}
			archive.Reset()
			if err := pack(t, f, format, nil, &archive); err != nil || len(unpack(t, format, archive.Bytes())) > 0 {
				t.Errorf("%s of nothing: %v", format, err)
			}
		}
	})
}

// TestBrokenArchive demands that an archive without one of its files is none.
func TestBrokenArchive(t *testing.T) {
	for name, replace := range map[string]func(*ledgertest.Fixture) error{
		"missing": func(f *ledgertest.Fixture) error { return f.Store.Remove(f.T.Context(), key("b")) },
		"longer": func(f *ledgertest.Fixture) error {
			_, err := f.Store.Put(f.T.Context(), key("b"), strings.NewReader("longer than before"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ledgertest.Each(t, func(t *testing.T, f *ledgertest.Fixture) {
				files := put(t, f, map[string]string{"a": "x", "b": "y", "c": "z"})
				f.Must(replace(f))
				for _, format := range formats() {
					if err := pack(t, f, format, files, io.Discard); err == nil || !strings.Contains(err.Error(), "archive b:") {
						t.Errorf("%s: got %v, want an error about b", format, err)
					}
				}
			})
		})
	}
}
