package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/klauspost/compress/zstd"

	"go-job-orchestrator/shared/job"
)

// maxWindow bounds the memory that a zstd frame takes. All levels of zstd up to 19 need no more
// (RFC 8878, section 3.1.1.1.2); --ultra and --long do.
const maxWindow = 8 << 20

// Memory is about how many bytes reading an archive of that format takes, beside its names.
func Memory(format string) int64 {
	if format == job.TarZstd {
		return 2*maxWindow + 4<<20
	}
	return 256 << 10
}

// headerBytes bounds what a header of tar takes: long names and records make it larger than a block.
const headerBytes = 8 << 10

// ReadTar reads an archive of one of the formats of tar to its end and calls visit for each entry.
// A fault of the archive is an error of kind job.ErrInvalid. Errors of r and of visit are returned as
// they are.
func ReadTar(r io.Reader, format string, l Limits, visit Visit) (Summary, error) {
	source := &counted{r: r}
	content, done, err := decompress(source, format)
	if err != nil {
		return Summary{}, broken(source, format, err)
	}
	defer done()
	// Also what is not the content of files is bounded: headers may go on for ever.
	raw := &metered{r: content, source: source, left: l.Unpacked + int64(l.Entries+1)*headerBytes,
		err: Fault(tooLarge(l))}
	t := &tarScan{raw: raw, tar: tar.NewReader(raw), checker: newChecker(l), visit: visit}
	err = t.entries()
	if err == nil {
		err = t.end()
	}
	var visited *visitError
	if errors.As(err, &visited) {
		return Summary{}, visited.err
	}
	if err != nil {
		return Summary{}, broken(source, format, err)
	}
	return t.checker.finish()
}

// decompress returns the tar file in an archive.
func decompress(source *counted, format string) (r io.Reader, done func(), err error) {
	switch format {
	case job.TarGzip:
		z, err := gzip.NewReader(bufio.NewReaderSize(source, 64<<10))
		return z, func() {}, err
	case job.TarZstd:
		// One goroutine, so that an upload takes one CPU at most.
		z, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return zstdReader{z}, z.Close, nil
	}
	if _, can := source.r.(Skipper); can {
		return skips{source}, func() {}, nil
	}
	return bufio.NewReaderSize(source, 64<<10), func() {}, nil
}

// zstdReader explains the error for a window that is too large.
type zstdReader struct{ *zstd.Decoder }

func (z zstdReader) Read(p []byte) (int, error) {
	n, err := z.Decoder.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeTooSmall) {
		err = Fault(fmt.Sprintf("its zstd window is larger than %d MiB; compress it without --ultra and --long",
			maxWindow>>20))
	}
	return n, err
}

// metered fails when more than left bytes are read, or many more than its source had.
type metered struct {
	r      io.Reader
	source *counted
	n      int64
	left   int64
	err    error
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if fault := m.meter(n); fault != nil {
		return 0, fault
	}
	return n, err
}

func (m *metered) meter(n int) error {
	m.n += int64(n)
	if m.n > m.left {
		return m.err
	}
	if inflates(m.source.n, m.n) {
		return errInflates()
	}
	return nil
}

// Seek goes forward, for archive/tar to leave out the content of files. It implements io.Seeker for
// that alone.
func (m *metered) Seek(offset int64, whence int) (int64, error) {
	from, can := m.r.(Skipper)
	if !can || whence != io.SeekCurrent || offset < 0 || offset > math.MaxInt {
		return 0, errors.ErrUnsupported
	}
	n, err := from.Discard(int(offset))
	if fault := m.meter(n); fault != nil {
		return 0, fault
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return m.n, err
}

// visitError marks an error of visit, so that it is not taken for one of the archive.
type visitError struct{ err error }

func (e *visitError) Error() string { return e.err.Error() }

// tarScan reads the entries of one tar file.
type tarScan struct {
	raw      *metered
	tar      *tar.Reader
	checker  *checker
	visit    Visit
	headers  int
	complete int64 // the offset in raw at which the last entry ends
}

func (t *tarScan) entries() error {
	for {
		h, err := t.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.headers++; t.headers > 2*t.checker.limits.Entries+2 { // folders may be there more than once
			return tooMany(t.checker.limits)
		}
		e, skip, err := tarEntry(h)
		if err != nil {
			return err
		}
		t.complete = t.raw.n
		if e.Kind == File || skip {
			t.complete += (h.Size + tarBlock - 1) / tarBlock * tarBlock
		}
		if skip {
			continue
		}
		if err := t.entry(e); err != nil {
			return err
		}
	}
}

func (t *tarScan) entry(e Entry) error {
	if e.Hard {
		target, message := cleanName(e.Target)
		if message != "" {
			return faultIn(e.Name, fmt.Sprintf("is a hard link to %.200q: the target %s", e.Target, message))
		}
		e.Target = target
	}
	kept, err := t.checker.add(&e)
	if err != nil || !kept {
		return err
	}
	content := &counted{r: t.tar}
	if err := t.visit(e, content); err != nil {
		if content.err != nil {
			return content.err
		}
		return &visitError{err}
	}
	return nil
}

// end makes sure that the archive was whole: it ends with blocks of zeros, and nothing else follows.
// A second archive behind it would be lost without a word.
func (t *tarScan) end() error {
	if t.raw.n < t.complete+tarBlock {
		return io.ErrUnexpectedEOF
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := t.raw.Read(buffer)
		for _, b := range buffer[:n] {
			if b != 0 {
				return Fault("has more bytes after the end of its tar file; was a second archive appended?")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tarEntry returns the entry of a header, or says that the header is to be skipped.
func tarEntry(h *tar.Header) (e Entry, skip bool, err error) {
	e = Entry{Name: h.Name, HasMode: true, Executable: h.Mode&0o100 != 0}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return e, false, faultIn(h.Name, "is a sparse file; make the archive without --sparse")
		}
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader: // git archive begins with one, which has a comment
		return e, true, nil
	case tar.TypeDir:
		e.Kind = Folder
	case tar.TypeReg, tar.TypeCont:
		e.Kind, e.Size = File, h.Size
	case tar.TypeSymlink:
		e.Kind, e.Target = Link, h.Linkname
	case tar.TypeLink:
		e.Kind, e.Target, e.Hard = Link, h.Linkname, true
	case tar.TypeChar, tar.TypeBlock:
		return e, false, faultIn(h.Name, "is a device; only files, folders and links can be sent")
	case tar.TypeFifo:
		return e, false, faultIn(h.Name, "is a FIFO; only files, folders and links can be sent")
	case tar.TypeGNUSparse:
		return e, false, faultIn(h.Name, "is a sparse file; make the archive without --sparse")
	default:
		return e, false, faultIn(h.Name, fmt.Sprintf("is an entry of type %q, which is not known; only files, folders and "+
			"links can be sent", h.Typeflag))
	}
	return e, false, nil
}
