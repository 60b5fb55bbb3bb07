package pack

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// An archive is a tar file that is not compressed: then its size is known before, so that the server
// can refuse it before it is sent, and nothing is slower than the line. It has no owners and no
// times, so that the same folder makes the same bytes.

// tarBlock is the size of the blocks of a tar file, and tarEnd that of what follows the last entry.
const (
	tarBlock = 512
	tarEnd   = 2 * tarBlock
)

// Modes of files and folders in an archive.
const (
	modeFile       = 0o644
	modeExecutable = 0o755
)

// ChangedError says that a file is not as it was when the folder was read.
type ChangedError struct {
	Path    string
	Message string
}

func (e *ChangedError) Error() string { return e.Path + " " + e.Message }

func (e *Entry) header() *tar.Header {
	h := &tar.Header{Name: e.Name, Mode: modeFile}
	switch e.Kind {
	case KindFolder:
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, e.Name+"/", modeExecutable
	case KindLink:
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Target, modeExecutable
	case KindFile:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
		if e.Executable {
			h.Mode = modeExecutable
		}
	}
	return h
}

// Size returns how many bytes Pack writes.
func (p *Plan) Size() (int64, error) {
	total := int64(tarEnd)
	for i := range p.Entries {
		var n counter
		h := p.Entries[i].header()
		if err := tar.NewWriter(&n).WriteHeader(h); err != nil {
			return 0, fmt.Errorf("%s: %w", p.Entries[i].Name, err)
		}
		total += int64(n) + (h.Size+tarBlock-1)/tarBlock*tarBlock
	}
	return total, nil
}

// counter counts what is written.
type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

// packBuffer is the memory that packing takes beside the plan.
const packBuffer = 256 << 10

// Pack writes the archive. It writes the same bytes each time, as long as the files do not change. A
// file that has grown is sent as far as it was when the folder was read. For one that has become
// shorter, or is gone, the error is a *ChangedError, and what was written is no archive.
func (p *Plan) Pack(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, packBuffer)
	archive := tar.NewWriter(out)
	buffer := make([]byte, packBuffer)
	for i := range p.Entries {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := p.Entries[i].write(archive, buffer); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return out.Flush()
}

func (e *Entry) write(archive *tar.Writer, buffer []byte) error {
	if e.Kind != KindFile {
		return archive.WriteHeader(e.header())
	}
	f, err := os.Open(e.path)
	if err != nil {
		return e.changed("cannot be read any more: " + reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return e.changed("cannot be read any more: " + reason(err))
	}
	if info.Mode().Type() != 0 {
		return e.changed("is no file any more")
	}
	h := e.header()
	if runtime.GOOS == "windows" && isProgram(f) {
		h.Mode = modeExecutable
	}
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	// The structs hide WriteTo and ReadFrom, which would take buffers of their own.
	n, err := io.CopyBuffer(struct{ io.Writer }{archive}, io.LimitReader(f, e.Size), buffer)
	switch {
	case n < e.Size && isReadError(err):
		return e.changed("cannot be read: " + reason(err))
	case err != nil:
		return err
	case n < e.Size:
		return e.changed(fmt.Sprintf("became shorter while it was sent: it had %d bytes and has %d", e.Size, n))
	}
	return nil
}

// isReadError tells an error of the file from one of the connection.
func isReadError(err error) bool {
	fault, is := err.(*fs.PathError) //nolint:errorlint // os.File returns it as it is
	return is && fault.Op == "read"
}

func (e *Entry) changed(message string) error { return &ChangedError{Path: e.path, Message: message} }

// isProgram reports whether a file begins as one that can be executed. It is asked where files have
// no such bit; the server does the same with files that are not in an archive.
func isProgram(f io.ReaderAt) bool {
	var head [4]byte
	n, _ := f.ReadAt(head[:], 0)
	return n >= 2 && string(head[:2]) == "#!" || n == 4 && string(head[:]) == "\x7fELF"
}
