package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/job"
)

func regular(name string) tar.Header {
	return tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: 1}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Mode: 0o777, Typeflag: tar.TypeSymlink}
}

func hardlink(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}
}

func folder(name string) tar.Header {
	return tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}
}

// contentOfOne is a content of one byte for every header of that size.
func contentOfOne(headers []tar.Header) map[string]string {
	contents := map[string]string{}
	for _, h := range headers {
		if h.Size == 1 {
			contents[h.Name] = "x"
		}
	}
	return contents
}

func TestGoodTars(t *testing.T) {
	long := strings.Repeat("n", 120) + "/" + strings.Repeat("m", 250)
	for name, test := range map[string]struct {
		headers []tar.Header
		want    map[string]string
	}{
		"modes": {
			[]tar.Header{
				{Name: "a", Mode: 0o755, Typeflag: tar.TypeReg}, {Name: "b", Mode: 0o6711, Typeflag: tar.TypeReg},
				{Name: "c", Mode: 0o611, Typeflag: tar.TypeReg}, {Name: "d", Mode: 0, Typeflag: tar.TypeReg},
				{Name: "e/", Mode: 0o1777, Typeflag: tar.TypeDir},
			}, map[string]string{"a": "x:", "b": "x:", "c": "", "d": "", "e/": ""},
		},
		"a folder more than once, and the archive's own": {
			[]tar.Header{folder("./"), folder("a/"), regular("./a/b"), folder("a"), folder("./a/"), regular(".//a/./c")},
			map[string]string{"a/": "", "a/b": "x", "a/c": "x"},
		},
		"results": {
			[]tar.Header{folder("results/"), regular("results/old")},
			map[string]string{"results/": "", "results/old": "x"},
		},
		"names that the bucket reserves": {
			[]tar.Header{regular("index.json"), regular("status.json"), regular(".job")},
			map[string]string{"index.json": "x", "status.json": "x", ".job": "x"},
		},
		"case": {[]tar.Header{regular("a"), regular("A"), regular("b/x"), regular("B/x")},
			map[string]string{"a": "x", "A": "x", "b/": "", "b/x": "x", "B/": "", "B/x": "x"}},
		"links": {
			[]tar.Header{
				symlink("lib/a.so", "a.so.1"), symlink("lib/a.so.1", "a.so.1.2"), regular("lib/a.so.1.2"),
				symlink("up", "lib/../lib/a.so.1.2"), symlink("lib/root", ".."), symlink("later", "results/out"),
				hardlink("hard", "lib/a.so.1.2"), hardlink("deep/hard", "./lib/a.so.1.2"), symlink("dir/", "lib/"),
			},
			map[string]string{"lib/": "", "lib/a.so": "->a.so.1", "lib/a.so.1": "->a.so.1.2", "lib/a.so.1.2": "x",
				"up": "->lib/../lib/a.so.1.2", "lib/root": "->..", "later": "->results/out", "hard": "x", "deep/": "",
				"deep/hard": "x", "dir": "->lib/"},
		},
		"GNU long names": {[]tar.Header{{Name: long, Mode: 0o644, Typeflag: tar.TypeReg, Size: 1, Format: tar.FormatGNU}},
			map[string]string{strings.Repeat("n", 120) + "/": "", long: "x"}},
		"PAX long names": {[]tar.Header{{Name: "ü/" + long, Mode: 0o644, Typeflag: tar.TypeReg, Size: 1,
			Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "x"}}},
			map[string]string{"ü/": "", "ü/" + strings.Repeat("n", 120) + "/": "", "ü/" + long: "x"}},
		"git's header": {[]tar.Header{{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header",
			PAXRecords: map[string]string{"comment": strings.Repeat("0", 40)}}, regular("a")},
			map[string]string{"a": "x"}},
		"deepest": {[]tar.Header{regular(strings.Repeat("d/", 49) + "f")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unpack(t, archivetest.Tar(t, withFile(test.headers), contentOfOne(test.headers)), "")
			if err != nil {
				t.Fatal(err)
			}
			delete(got, "at least one file")
			if diff := cmp.Diff(test.want, got); test.want != nil && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// withFile adds a file, since an archive needs one.
func withFile(headers []tar.Header) []tar.Header {
	return append(slices.Clone(headers), tar.Header{Name: "at least one file", Mode: 0o644, Typeflag: tar.TypeReg})
}

func TestBadTars(t *testing.T) {
	type bad struct {
		headers []tar.Header
		want    string
	}
	tests := map[string]bad{
		"duplicate":             {[]tar.Header{regular("a"), regular("a")}, "twice"},
		"duplicate, otherwise":  {[]tar.Header{regular("a/b"), regular("./a//b")}, "twice"},
		"file and folder":       {[]tar.Header{regular("a"), folder("a/")}, "both a file and a folder"},
		"folder and file":       {[]tar.Header{regular("a/b"), regular("a")}, "both a file and a folder"},
		"below a file":          {[]tar.Header{regular("a"), regular("a/b/c")}, `lies in "a", which is a file`},
		"below a link":          {[]tar.Header{symlink("a", "b"), regular("a/c")}, `lies in "a", which is a link`},
		"a link over a folder":  {[]tar.Header{regular("a/c"), symlink("a", "b")}, "both a file and a folder"},
		"results is a file":     {[]tar.Header{regular("results")}, "folder for outputs"},
		"results is a link":     {[]tar.Header{symlink("results", "a")}, "folder for outputs"},
		"too deep":              {[]tar.Header{regular(strings.Repeat("d/", 50) + "f")}, "49 folders deep"},
		"too long":              {[]tar.Header{regular(strings.Repeat(strings.Repeat("d", 200)+"/", 5) + "f")}, "1000 bytes"},
		"too long a segment":    {[]tar.Header{regular(strings.Repeat("d", 256))}, "256 bytes"},
		"link out":              {[]tar.Header{symlink("a", "../x")}, "leads out of the archive"},
		"link out and in":       {[]tar.Header{symlink("a", "../workspace/x")}, "leads out of the archive"},
		"link out of a folder":  {[]tar.Header{symlink("d/a", "../../x")}, "leads out of the archive"},
		"absolute link":         {[]tar.Header{symlink("a", "/etc/passwd")}, "absolute path"},
		"link with a backslash": {[]tar.Header{symlink("a", `..\x`)}, "backslash"},
		"link with a newline":   {[]tar.Header{symlink("a", "b\nc")}, "not a path"},
		"link without a target": {[]tar.Header{symlink("a", "")}, "not a path"},
		"link through a link": {[]tar.Header{symlink("a/b", "."), symlink("c", "a/b/../../d")},
			`leads through another link, "a/b"`},
		"link through a later link":    {[]tar.Header{symlink("c", "a/x"), symlink("a", "d")}, "through another link"},
		"long target":                  {[]tar.Header{symlink("a", strings.Repeat("x", 901))}, "900 bytes"},
		"hard link out":                {[]tar.Header{hardlink("a", "../x")}, `contains ".."`},
		"absolute hard link":           {[]tar.Header{hardlink("a", "/etc/passwd")}, "absolute path"},
		"hard link to nothing":         {[]tar.Header{hardlink("a", "b")}, "not a file of the archive"},
		"hard link to a link":          {[]tar.Header{symlink("b", "c"), hardlink("a", "b")}, "not a file of the archive"},
		"hard link to a folder":        {[]tar.Header{folder("b"), hardlink("a", "b")}, "not a file of the archive"},
		"hard link to itself":          {[]tar.Header{hardlink("a", "a")}, "not a file of the archive"},
		"hard link through a link":     {[]tar.Header{symlink("b", "c"), hardlink("a", "b/d")}, "not a file of the archive"},
		"device":                       {[]tar.Header{{Name: "a", Typeflag: tar.TypeChar}}, "device"},
		"block device":                 {[]tar.Header{{Name: "a", Typeflag: tar.TypeBlock}}, "device"},
		"FIFO":                         {[]tar.Header{{Name: "a", Typeflag: tar.TypeFifo}}, "FIFO"},
		"unknown type":                 {[]tar.Header{{Name: "a", Typeflag: 'Z'}}, "type 'Z'"},
		"file without a name of its":   {[]tar.Header{regular("./.")}, "needs a name"},
		"more entries than its limits": {slices.Repeat([]tar.Header{folder("a/")}, 2100), "MAX_ARCHIVE_ENTRIES"},
	}
	for _, name := range []string{"../a", "a/../../b", "..", "a/..", "./../a"} {
		tests["name "+name] = bad{[]tar.Header{regular(name)}, `contains ".."`}
	}
	for name, want := range map[string]string{"/a": "absolute", "//a": "absolute", `a\b`: "backslash",
		`\\host\a`: "backslash",
		"C:/a":     "drive letter", "c:a": "drive letter", "a\nb": "control character", "a\x1b[2J": "control character",
		"a\u0085": "control character"} {
		tests["name "+name] = bad{[]tar.Header{regular(name)}, want}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := unpack(t, archivetest.Tar(t, withFile(test.headers), contentOfOne(test.headers)), "")
			wantFault(t, err, test.want)
			for file := range got {
				if strings.HasPrefix(got[file], "->") {
					t.Errorf("the link %s was made", file)
				}
			}
		})
	}
}

func wantFault(t *testing.T, err error, want string) {
	t.Helper()
	var faults *job.Faults
	if !errors.As(err, &faults) || !errors.Is(err, job.ErrInvalid) || faults.List[0].Field != "archive" {
		t.Fatalf("got %v, want a fault with %q", err, want)
	}
	if message := faults.List[0].Message; !strings.Contains(message, want) || len(message) > 1000 ||
		strings.ContainsAny(message, "\x00\n\x1b") {
		t.Errorf("got %q, want %q in it", message, want)
	}
}

// raw changes the bytes of a tar file and repairs its first checksum.
func raw(data []byte, change func(header []byte)) []byte {
	data = slices.Clone(data)
	change(data[:512])
	copy(data[148:156], "        ")
	sum := 0
	for _, b := range data[:512] {
		sum += int(b)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return data
}

// TestRawTars are tar files that archive/tar does not write.
func TestRawTars(t *testing.T) {
	whole := archivetest.Files(t, "a", "content of a")
	v7 := raw(whole, func(h []byte) { clear(h[257:]) })
	if got, err := unpack(t, v7, ""); err != nil || got["a"] != "content of a" {
		t.Errorf("a tar file without a magic: %v, %v", got, err)
	}
	if got, err := unpack(t, append(slices.Clone(whole), make([]byte, 1<<20)...), ""); err != nil || got["a"] == "" {
		t.Errorf("a tar file with more zeros: %v, %v", got, err)
	}
	members := append(archivetest.Gzip(t, whole[:700]), archivetest.Gzip(t, whole[700:])...)
	if got, err := unpack(t, members, ""); err != nil || got["a"] == "" {
		t.Errorf("two members of gzip: %v, %v", got, err)
	}
	frames := append(append(archivetest.Zstd(t, whole[:700]), archivetest.Zstd(t, whole[700:])...), 0x50, 0x2a, 0x4d, 0x18,
		1, 0, 0, 0, 'x')
	if got, err := unpack(t, frames, ""); err != nil || got["a"] == "" {
		t.Errorf("two frames of zstd: %v, %v", got, err)
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"no end":                {whole[:1024], "ends early"},
		"appended archive":      {append(slices.Clone(whole), whole...), "after the end"},
		"trailing garbage":      {append(slices.Clone(whole), 'x'), "after the end"},
		"gzip and garbage":      {append(archivetest.Gzip(t, whole), "garbage after gzip"...), "not a proper tar.gz"},
		"gzip of text":          {archivetest.Gzip(t, bytes.Repeat([]byte("x"), 2000)), "not a proper tar.gz"},
		"gzip of nothing":       {archivetest.Gzip(t, nil), "ends early"},
		"gzip with a wrong sum": {flipped(archivetest.Gzip(t, whole), -6), "not a proper tar.gz"},
		"zstd and garbage":      {append(archivetest.Zstd(t, whole), "garbage"...), "not a proper tar.zst"},
		"zstd with a wrong sum": {flipped(archivetest.Zstd(t, whole), -2), "not a proper tar.zst"},
		"no files":              {archivetest.Tar(t, []tar.Header{folder("a")}, nil), "has no files"},
		"GNU sparse file": {raw(whole, func(h []byte) {
			h[156] = 'S'
			copy(h[257:], "ustar  \x00")
			clear(h[386:])
		}), "sparse"},
		"negative size": {raw(whole, func(h []byte) { copy(h[124:], strings.Repeat("\xff", 12)) }), "proper"},
		"huge size": {raw(whole, func(h []byte) { copy(h[124:], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff") }),
			"MAX_UNPACKED_BYTES"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpack(t, test.data, "")
			wantFault(t, err, test.want)
		})
	}
}

func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[(at+len(data))%len(data)] ^= 0x55
	return data
}

// TestWindow sends a zstd frame whose window takes more memory than it may.
func TestWindow(t *testing.T) {
	var noise bytes.Buffer
	for i := 0; noise.Len() < 9<<20; i++ {
		fmt.Fprintf(&noise, "%d %x\n", i, i*i*7919*104729)
	}
	whole := archivetest.Files(t, "a", noise.String())
	window := func(size int) []byte {
		return archivetest.Zstd(t, whole, zstd.WithWindowSize(size), zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	_, _, err := read(window(16<<20), limits(), ignore)
	wantFault(t, err, "--ultra")
	if _, _, err := read(window(8<<20), limits(), ignore); err != nil {
		t.Error(err)
	}
}

// TestBounds reads archives at and beyond their bounds.
func TestBounds(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		data := archivetest.Make(t, format, "a/b/c", "12345", "a/b/d", "67890")
		for name, test := range map[string]struct {
			limits archive.Limits
			want   string
		}{
			"just right":  {archive.Limits{Entries: 4, Unpacked: 10}, ""},
			"one entry":   {archive.Limits{Entries: 3, Unpacked: 10}, "more than 3 files and folders (MAX_ARCHIVE_ENTRIES)"},
			"fewer files": {archive.Limits{Entries: 1, Unpacked: 10}, "MAX_ARCHIVE_ENTRIES"},
			"one byte":    {archive.Limits{Entries: 4, Unpacked: 9}, "more than 9 bytes (MAX_UNPACKED_BYTES)"},
		} {
			_, sum, err := read(data, test.limits, ignore)
			if test.want != "" {
				wantFault(t, err, test.want)
			} else if err != nil || sum != (archive.Summary{Entries: 4, Unpacked: 10}) {
				t.Errorf("%s, %s: %+v, %v", format, name, sum, err)
			}
		}
	}
}

// zeros is a reader of so many zeros.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bombTar writes a tar file of one large file of zeros.
func bombTar(t *testing.T, to io.Writer, size int64) {
	t.Helper()
	w := tar.NewWriter(to)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, zeros(size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
