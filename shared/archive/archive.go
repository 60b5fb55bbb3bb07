// Package archive reads the archives that users send: tar, tar.gz, tar.zst and zip. It lists them
// while they are uploaded and unpacks them before the program starts, each time with the same checks.
package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go-job-orchestrator/shared/job"
)

// Limits bounds what an archive may hold.
type Limits struct {
	Entries  int   // files, folders and links, also the folders that only paths name
	Unpacked int64 // bytes of all files together
}

// Bounds that no setting changes.
const (
	maxDepth  = 50  // folders in each other
	maxTarget = 900 // bytes of a link's target
	// maxRatio is how many times as large as the archive its content may be, beyond the first
	// freeRatio bytes. Text seldom compresses by more than 20; a bomb does by 1,000 and more.
	maxRatio  = 200
	freeRatio = 100 << 20
)

// Entry is a file, folder or link in an archive.
type Entry struct {
	Name string
	Kind Kind
	Size int64 // of a file
	// Executable says that its owner may execute it. HasMode is false when the archive does not say.
	Executable, HasMode bool
	// Target is where a link leads: for a symbolic link as it is written, for a hard link the name of
	// a file in the archive.
	Target string
	Hard   bool
}

// Visit is called for each entry in the order of the archive. The content is that of a file; Visit
// may read it or leave it.
type Visit func(e Entry, content io.Reader) error

// Summary is what was found in an archive.
type Summary struct {
	Entries  int
	Unpacked int64
}

// HeadBytes is how many bytes of an archive Detect needs.
const HeadBytes = tarBlock

// Detect tells the format of an archive by its first bytes. For a fault the error is of kind
// job.ErrInvalid.
func Detect(head []byte) (string, error) {
	for _, f := range []struct{ magic, format, other string }{
		{magic: "PK\x03\x04", format: job.Zip},
		{magic: "PK\x05\x06", other: "is a zip file without any files"},
		{magic: "PK\x07\x08", other: "is a part of a zip file that was split; send it as one file"},
		{magic: "\x1f\x8b", format: job.TarGzip},
		{magic: "\x28\xb5\x2f\xfd", format: job.TarZstd},
		{magic: "BZh", other: "is compressed by bzip2" + instead},
		{magic: "\xfd7zXZ\x00", other: "is compressed by xz" + instead},
		{magic: "7z\xbc\xaf\x27\x1c", other: "is a 7z file" + instead},
		{magic: "Rar!", other: "is a rar file" + instead},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			if f.other != "" {
				return "", Fault(f.other)
			}
			return f.format, nil
		}
	}
	if len(head) >= 4 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")) && head[0]>>4 == 5 {
		return job.TarZstd, nil // a skippable frame, which some programs begin with
	}
	if isTar(head) {
		return job.Tar, nil
	}
	if len(head) == 0 {
		return "", Fault("is empty")
	}
	return "", Fault("is not an archive" + instead)
}

const instead = "; send a tar, tar.gz, tar.zst or zip file"

// tarBlock is the size of the blocks of a tar file.
const tarBlock = 512

// isTar reports whether the bytes begin with a header of tar, of any of its versions, by its
// checksum.
func isTar(head []byte) bool {
	if len(head) < tarBlock {
		return false
	}
	const from, to = 148, 156
	text := string(bytes.Trim(head[from:to], " \x00"))
	want, err := strconv.ParseInt(text, 8, 64)
	if err != nil {
		return false
	}
	var unsigned, signed int64
	for i, b := range head[:tarBlock] {
		if i >= from && i < to {
			b = ' '
		}
		unsigned += int64(b)
		signed += int64(int8(b)) // some old programs sum up so
	}
	return want == unsigned || want == signed
}

// Fault is the error for an archive that is refused as a whole.
func Fault(message string) error { return job.Invalid("archive", message) }

// faultIn is the error for an entry.
func faultIn(name, message string) error { return Fault(fmt.Sprintf("%.200q: %s", name, message)) }

// broken is the error for bytes that cannot be decoded. The error of the source, if it had one, is
// returned instead, because it is the cause.
func broken(source *counted, format string, err error) error {
	var known *job.Faults
	switch {
	case source.err != nil:
		return source.err
	case errors.As(err, &known):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return Fault("is not a whole " + format + " file: it ends early")
	}
	return Fault(fmt.Sprintf("is not a proper %s file: %.200s", format, err))
}

// counted counts what is read and keeps the error of its source.
type counted struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// Skipper is a reader that can leave bytes out without copying them, as bufio.Reader can.
type Skipper interface {
	io.Reader
	// Discard leaves out n bytes. If it leaves out fewer, the error says why.
	Discard(n int) (left int, err error)
}

// skips is counted over a Skipper.
type skips struct{ *counted }

func (s skips) Discard(n int) (int, error) {
	left, err := s.r.(Skipper).Discard(n) //nolint:forcetypeassert // see above
	s.n += int64(left)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return left, err
}

// inflates reports whether so many bytes of an archive have too much content.
func inflates(packed, unpacked int64) bool {
	return unpacked > freeRatio && (unpacked-freeRatio)/maxRatio > packed
}

func errInflates() error {
	return Fault(fmt.Sprintf("its content is more than %d times as large as the archive, as that of a bomb; send large "+
		"files that are nearly empty without compression, or make them in the program", maxRatio))
}
