package form_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// TestArchive reads an archive of each format, beside a file. It is stored as it was sent.
func TestArchive(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		data := string(archivetest.Make(t, format, "main.py", "print(1)", "pkg/m.py", "x = 1"))
		files := saver{}
		body := formtest.Encode(formtest.Archive("p."+format, data), file("data/a.csv", "1"), field("cpu", "1"))
		got, err := form.NewReader(limits()).Read(request(t.Context(), body), job.Spec{}, files.save)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		want := []job.File{{Name: "p." + format, Size: int64(len(data)), Archive: format, Entries: 3, Unpacked: 13},
			{Name: "data/a.csv", Size: 1}}
		names := []string{"main.py", "pkg/m.py", "data/a.csv"}
		if format == job.Zip { // it is listed once it is stored
			want[0].Entries, want[0].Unpacked = 0, 0
			names = names[2:]
		}
		if diff := cmp.Diff(want, got.Files); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", format, diff)
		}
		if !slices.Equal(got.Tree.Names(), names) {
			t.Errorf("%s: the tree has %q, want %q", format, got.Tree.Names(), names)
		}
		if files["p."+format] != data {
			t.Errorf("%s: another archive was stored", format)
		}
	}
}

// TestBadArchives sends archives that are refused while they are sent.
func TestBadArchives(t *testing.T) {
	good := string(archivetest.Files(t, "main.py", "print(1)", "d/e", "x"))
	for name, test := range map[string]struct {
		parts   []formtest.Part
		field   string
		message string
	}{
		"text":           {[]formtest.Part{field("archive", "x")}, "archive", "sent as text"},
		"empty":          {[]formtest.Part{formtest.Archive("a.tar", "")}, "archive", "is empty"},
		"another format": {[]formtest.Part{formtest.Archive("a.tar", "BZh91AY")}, "archive", "bzip2"},
		"cut off":        {[]formtest.Part{formtest.Archive("a.tar", good[:1500])}, "archive", "ends early"},
		"twice": {[]formtest.Part{formtest.Archive("a.tar", good), formtest.Archive("b", good)}, "archive",
			"more than once"},
		"without a name": {[]formtest.Part{formtest.Archive("", good)}, "archive", "needs a name"},
		"reserved name":  {[]formtest.Part{formtest.Archive("index.json", good)}, "archive", "reserved"},
		"a file's name":  {[]formtest.Part{file("a", "x"), formtest.Archive("a", good)}, "archive", "same name"},
		"an archive's": {[]formtest.Part{formtest.Archive("a", good), file("a", "x")}, "files",
			`two files are named "a"`},
		"a file in both": {[]formtest.Part{file("main.py", "x"), formtest.Archive("a", good)}, "archive",
			`"main.py" is there twice`},
		"in both, archive": {[]formtest.Part{formtest.Archive("a", good), file("main.py", "x")}, "files",
			`"main.py" is there twice`},
		"below a file": {[]formtest.Part{file("d", "x"), formtest.Archive("a", good)}, "archive",
			`lies in "d", which is a file`},
		"a folder's name": {[]formtest.Part{formtest.Archive("a", good), file("d", "x")}, "files",
			"both a file and a folder"},
		"escape": {[]formtest.Part{formtest.Archive("a", string(archivetest.Files(t, "../x", "")))}, "archive",
			`"../x": contains ".."`},
		"too large": {[]formtest.Part{formtest.Archive("a", string(archivetest.Gzip(t, archivetest.Files(t, "x",
			strings.Repeat("x", 1<<20+1)))))}, "archive", "MAX_UNPACKED_BYTES"},
		"after a fault": {[]formtest.Part{field("x", "y"), formtest.Archive("a", "no archive")}, "x", "not a field"},
	} {
		t.Run(name, func(t *testing.T) {
			bad{parts: test.parts, field: test.field, message: test.message}.isRefused(t)
		})
	}
}

// TestArchiveFaultStoresNothing ends the upload of an archive at its fault.
func TestArchiveFaultStoresNothing(t *testing.T) {
	bad := archivetest.Files(t, "../x", "", "y", strings.Repeat("x", 900_000))
	files := saver{}
	_, err := form.NewReader(limits()).Read(request(t.Context(), formtest.Encode(formtest.Archive("a", string(bad)))),
		job.Spec{}, files.save)
	if !errors.Is(err, job.ErrInvalid) || len(files) > 0 {
		t.Errorf("got %v, and %d files were stored", err, len(files))
	}
}

// TestArchiveStorage demands that an error of the storage is not taken for one of the archive.
func TestArchiveStorage(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		data := string(archivetest.Make(t, format, "a", strings.Repeat("x", 100_000)))
		full := func(_ context.Context, _ string, r io.Reader) (job.File, error) {
			_, _ = io.ReadFull(r, make([]byte, 100))
			return job.File{}, job.ErrExhausted
		}
		_, err := form.NewReader(limits()).Read(request(t.Context(), formtest.Encode(formtest.Archive("a", data))),
			job.Spec{}, full)
		if !errors.Is(err, job.ErrExhausted) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

// TestArchiveClientGone demands that an upload that is cut off is told as such.
func TestArchiveClientGone(t *testing.T) {
	data := string(archivetest.Files(t, "a", strings.Repeat("x", 100_000)))
	body := formtest.Encode(formtest.Archive("a", data))
	files := saver{}
	_, err := form.NewReader(limits()).Read(request(t.Context(), body[:50_000]), job.Spec{}, files.save)
	if err == nil || !strings.Contains(err.Error(), "ends early or") || len(files) > 0 {
		t.Errorf("got %v, and %d files were stored", err, len(files))
	}
}

// TestArchiveMemory streams a large archive: neither its bytes nor those of its files are kept.
func TestArchiveMemory(t *testing.T) {
	const size = 256 << 20
	for _, format := range []string{job.Tar, job.TarGzip, job.TarZstd} {
		in, out := io.Pipe()
		go func() { _ = out.CloseWithError(archivetest.Large(out, format, size, 2000)) }()
		form1 := formtest.Encode(formtest.Archive("a", "|"))
		head, tail, _ := strings.Cut(form1, "|")
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", io.MultiReader(strings.NewReader(head), in,
			strings.NewReader(tail)))
		r.Header.Set("Content-Type", contentType)
		r.ContentLength = -1
		var peak, before uint64
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		before = stats.HeapInuse
		save := func(_ context.Context, name string, r io.Reader) (job.File, error) {
			buffer := make([]byte, 256<<10)
			n := 0
			for i := 0; ; i++ {
				k, err := r.Read(buffer)
				n += k
				if i%100 == 0 {
					runtime.ReadMemStats(&stats)
					peak = max(peak, stats.HeapInuse)
				}
				if errors.Is(err, io.EOF) {
					return job.File{Name: name, Size: int64(n)}, nil
				}
				if err != nil {
					return job.File{}, err
				}
			}
		}
		l := limits()
		l.TotalBytes, l.Archive = 4<<30, archive.Limits{Entries: 10_000, Unpacked: 1 << 30}
		got, err := form.NewReader(l).Read(r, job.Spec{}, save)
		if err != nil || got.Files[0].Unpacked != size {
			t.Fatalf("%s: %+v, %v", format, got, err)
		}
		t.Logf("%s: %d bytes, peak of the heap %d MiB", format, got.Files[0].Size, int64(peak-before)>>20)
		if peak > before+64<<20 {
			t.Errorf("%s: the heap grew by %d MiB", format, (peak-before)>>20)
		}
	}
}
