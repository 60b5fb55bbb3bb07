package archive_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/job"
)

// zipOf is a zip file of entries with modes; mode 0 stands for none.
func zipOf(t *testing.T, entries ...zipped) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: e.method, Modified: time.Unix(0, 0), NonUTF8: true}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zipped struct {
	name   string
	text   string
	mode   fs.FileMode
	method uint16
}

func TestGoodZips(t *testing.T) {
	for name, test := range map[string]struct {
		data []byte
		want map[string]string
	}{
		"modes": {zipOf(t, zipped{"a", "1", 0o755, zip.Store}, zipped{"b", "2", 0o644, zip.Deflate},
			zipped{"c", "3", 0o755 | fs.ModeSetuid, zip.Deflate}, zipped{"d/", "", 0o755 | fs.ModeDir, zip.Store}),
			map[string]string{"a": "x:1", "b": "2", "c": "x:3", "d/": ""}},
		"no modes": {zipOf(t, zipped{"run", "#!/bin/sh\n", 0, zip.Deflate}, zipped{"text", "1", 0, zip.Store}),
			map[string]string{"run": "x:#!/bin/sh\n", "text": "1"}},
		"a script that must not be executable": {zipOf(t, zipped{"run", "#!/bin/sh\n", 0o644, zip.Deflate}),
			map[string]string{"run": "#!/bin/sh\n"}},
		"links": {zipOf(t, zipped{"l", "d/f", 0o777 | fs.ModeSymlink, zip.Deflate}, zipped{"d/f", "1", 0o644, zip.Store}),
			map[string]string{"l": "->d/f", "d/": "", "d/f": "1"}},
		"a comment": {withComment(t, zipOf(t, zipped{"a", "1", 0o644, zip.Store}), "PK\x05\x06 and more"),
			map[string]string{"a": "1"}},
		"UTF-8 without saying so": {zipOf(t, zipped{"ü", "1", 0o644, zip.Store}), map[string]string{"ü": "1"}},
		"ZIP64":                   {zip64(t), map[string]string{"a": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unpack(t, test.data, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func withComment(t *testing.T, data []byte, comment string) []byte {
	t.Helper()
	data = append(slices.Clone(data), comment...)
	binary.LittleEndian.PutUint16(data[len(data)-len(comment)-2:], uint16(len(comment)))
	return data
}

// zip64 is a zip file that has all its numbers in the fields of ZIP64.
func zip64(t *testing.T) []byte {
	t.Helper()
	le := binary.LittleEndian
	var b []byte
	local := slices.Concat(le.AppendUint32(nil, 0x04034b50), le.AppendUint16(nil, 45), make([]byte, 8))
	local = le.AppendUint32(local, 0x83dcefb7) // of "1"
	local = append(local, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	local = le.AppendUint16(le.AppendUint16(local, 1), 20)
	local = append(local, 'a')
	sizes := le.AppendUint64(le.AppendUint64(nil, 1), 1)
	local = append(le.AppendUint16(le.AppendUint16(local, 1), 16), sizes...)
	b = append(local, '1')
	directory := len(b)
	b = append(le.AppendUint32(b, 0x02014b50), 45, 3, 45, 0)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 0x83dcefb7)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	b = le.AppendUint16(le.AppendUint16(b, 1), 28)
	b = append(b, make([]byte, 6)...)
	b = le.AppendUint32(b, 0o100644<<16)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 'a')
	b = append(le.AppendUint16(le.AppendUint16(b, 1), 24), sizes...)
	b = le.AppendUint64(b, 0)
	end := len(b)
	b = le.AppendUint64(le.AppendUint32(b, 0x06064b50), 44)
	b = append(b, 45, 3, 45, 0)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint64(le.AppendUint64(b, 1), 1)
	b = le.AppendUint64(le.AppendUint64(b, uint64(end-directory)), uint64(directory))
	b = append(le.AppendUint32(b, 0x07064b50), 0, 0, 0, 0)
	b = append(le.AppendUint64(b, uint64(end)), 1, 0, 0, 0)
	b = append(le.AppendUint32(b, 0x06054b50), 0, 0, 0, 0)
	return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0)
}

// at finds the n-th signature in a zip file and returns what follows from it on.
func at(data []byte, signature string, n int) []byte {
	for range n {
		data = data[bytes.Index(data, []byte(signature))+1:]
	}
	return data[bytes.Index(data, []byte(signature)):]
}

func TestBadZips(t *testing.T) {
	const local, record, end = "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"
	le := binary.LittleEndian
	two := zipOf(t, zipped{"a", "content of a", 0o644, zip.Store}, zipped{"b", strings.Repeat("content of b", 9), 0o644,
		zip.Deflate})
	changed := func(change func(data []byte)) []byte {
		data := slices.Clone(two)
		change(data)
		return data
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"encrypted":           {changed(func(d []byte) { at(d, record, 0)[8] |= 1 }), `"a": is encrypted`},
		"strongly encrypted":  {changed(func(d []byte) { at(d, record, 1)[8] |= 1 << 6 }), `"b": is encrypted`},
		"masked":              {changed(func(d []byte) { at(d, record, 1)[9] |= 1 << 5 }), `"b": is encrypted`},
		"AES":                 {changed(func(d []byte) { at(d, record, 1)[10] = 99 }), "method 99"},
		"zstd":                {changed(func(d []byte) { at(d, record, 1)[10] = 93 }), "method 93"},
		"wrong sum":           {changed(func(d []byte) { at(d, record, 1)[16] ^= 1 }), "CRC-32"},
		"larger":              {changed(func(d []byte) { at(d, record, 1)[24]-- }), "is larger than"},
		"smaller":             {changed(func(d []byte) { at(d, record, 1)[24]++ }), "is smaller than"},
		"stored, larger":      {changed(func(d []byte) { at(d, record, 0)[24]-- }), "two sizes"},
		"other name":          {changed(func(d []byte) { at(d, local, 0)[30] = 'c' }), "another name or method"},
		"longer name":         {changed(func(d []byte) { at(d, local, 0)[26] = 9 }), "not where the directory"},
		"other method":        {changed(func(d []byte) { at(d, local, 0)[8] = 8 }), "another name or method"},
		"long extra":          {changed(func(d []byte) { le.PutUint16(at(d, local, 0)[28:], 1000) }), "outside"},
		"no local header":     {changed(func(d []byte) { at(d, local, 1)[0] = 'x' }), "not where the directory"},
		"overlap":             {changed(func(d []byte) { le.PutUint32(at(d, record, 1)[42:], 0) }), "overlaps"},
		"partial overlap":     {changed(func(d []byte) { le.PutUint32(at(d, record, 1)[42:], 20) }), "overlaps"},
		"outside":             {changed(func(d []byte) { le.PutUint32(at(d, record, 1)[42:], 100_000) }), "outside"},
		"in the directory":    {changed(func(d []byte) { le.PutUint32(at(d, record, 1)[20:], 1000) }), "outside"},
		"fewer entries":       {changed(func(d []byte) { at(d, end, 0)[8] = 1; at(d, end, 0)[10] = 1 }), "longer than"},
		"more entries":        {changed(func(d []byte) { at(d, end, 0)[8] = 3; at(d, end, 0)[10] = 3 }), "ends early"},
		"far too many":        {changed(func(d []byte) { at(d, end, 0)[9], at(d, end, 0)[11] = 99, 99 }), "MAX_ARCHIVE"},
		"directory elsewhere": {changed(func(d []byte) { at(d, end, 0)[16]++ }), "where it says"},
		"broken record":       {changed(func(d []byte) { at(d, record, 1)[0] = 'x' }), "directory is broken"},
		"split":               {changed(func(d []byte) { at(d, end, 0)[4] = 1 }), "split"},
		"prefixed":            {append([]byte("#!/bin/sh\n"), two...), "is not an archive"},
		"appended":            {append(slices.Clone(two), "x"...), "ends early"},
		"device":              {zipOf(t, zipped{"a", "", 0o644 | fs.ModeDevice, zip.Store}), "device"},
		"FIFO":                {zipOf(t, zipped{"a", "", 0o644 | fs.ModeNamedPipe, zip.Store}), "FIFO"},
		"link out":            {zipOf(t, zipped{"a", "../x", fs.ModeSymlink, zip.Store}, zipped{"b", "", 0, 0}), "leads out"},
		"absolute link":       {zipOf(t, zipped{"a", "/x", fs.ModeSymlink, zip.Store}, zipped{"b", "", 0, 0}), "absolute"},
		"long link":           {zipOf(t, zipped{"a", strings.Repeat("x", 5000), fs.ModeSymlink, zip.Deflate}), "too long"},
		"zip-slip":            {zipOf(t, zipped{"../a", "", 0, 0}), `contains ".."`},
		"absolute":            {zipOf(t, zipped{"/a", "", 0, 0}), "absolute"},
		"backslash":           {zipOf(t, zipped{`a\b`, "", 0, 0}), "backslash"},
		"drive":               {zipOf(t, zipped{"C:/b", "", 0, 0}), "drive letter"},
		"NUL":                 {zipOf(t, zipped{"a\x00b", "", 0, 0}), "control character"},
		"CP437":               {zipOf(t, zipped{"\x81", "", 0, 0}), "UTF-8"},
		"duplicate":           {zipOf(t, zipped{"a", "", 0, 0}, zipped{"a", "", 0, 0}), "twice"},
		"file and folder":     {zipOf(t, zipped{"a", "", 0, 0}, zipped{"a/b", "", 0, 0}), "which is a file"},
		"only folders":        {zipOf(t, zipped{"a/", "", 0, 0}), "no files"},
		"results":             {zipOf(t, zipped{"results", "", 0, 0}), "folder for outputs"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpack(t, test.data, "")
			wantFault(t, err, test.want)
		})
	}
}

// TestZipBombs demands that bombs are refused before anything of them is unpacked.
func TestZipBombs(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.DefaultCompression)
	})
	f, err := w.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, zeros(130<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	visited := func(archive.Entry, io.Reader) error { return errors.New("an entry was visited") }
	_, _, err = read(b.Bytes(), limits(), visited)
	wantFault(t, err, "bomb")
	for _, format := range []string{job.TarGzip, job.TarZstd} {
		var packed bytes.Buffer
		var w io.WriteCloser
		var err error
		if format == job.TarZstd {
			w, err = zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedFastest))
		} else {
			w, err = gzip.NewWriterLevel(&packed, gzip.DefaultCompression)
		}
		if err != nil {
			t.Fatal(err)
		}
		bombTar(t, w, 180<<20)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		read := 0
		_, err = archive.ReadTar(bytes.NewReader(packed.Bytes()), format, limits(), func(_ archive.Entry, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			read = int(n)
			return err
		})
		wantFault(t, err, "bomb")
		if read > 150<<20 {
			t.Errorf("%s: %d bytes were unpacked", format, read)
		}
	}
}
