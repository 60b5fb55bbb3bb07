package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// Size returns how many bytes the archive has.
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

// Open returns the archive. It has the same bytes each time, as long as the files do not change. A
// file that has grown is sent as far as it was when the folder was read. For one that has become
// shorter, or is gone, reading ends with a *ChangedError, and what was read is no archive. Each call
// of Read reads straight from the files, so that nothing is copied twice.
func (p *Plan) Open(ctx context.Context) io.ReadCloser { return &stream{ctx: ctx, plan: p} }

// stream is an archive that is read.
type stream struct {
	ctx    context.Context //nolint:containedctx // lives as long as one archive
	plan   *Plan
	next   int      // the entry that follows
	ended  bool     // the end of the archive is in head
	head   []byte   // what comes before the content: a header, or the end
	file   *os.File // the content; nil for none
	entry  *Entry   // that of file
	left   int64    // bytes of content
	filler int64    // bytes that fill the last block
}

// Read fills p, if there is as much, since each call may become a packet of the network.
func (s *stream) Read(p []byte) (n int, err error) {
	for n < len(p) {
		k, err := s.read(p[n:])
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *stream) read(p []byte) (int, error) {
	switch {
	case len(s.head) > 0:
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	case s.left > 0:
		return s.content(p[:min(int64(len(p)), s.left)])
	case s.filler > 0:
		n := min(int64(len(p)), s.filler)
		clear(p[:n])
		s.filler -= n
		return int(n), nil
	case s.ended:
		return 0, io.EOF
	}
	return 0, s.advance()
}

func (s *stream) content(p []byte) (int, error) {
	n, err := s.file.Read(p)
	s.left -= int64(n)
	if s.left == 0 {
		return n, s.Close()
	}
	switch {
	case errors.Is(err, io.EOF):
		return n, s.entry.changed(fmt.Sprintf("became shorter while it was sent: it had %d bytes and has %d",
			s.entry.Size, s.entry.Size-s.left))
	case err != nil:
		return n, s.entry.changed("cannot be read: " + reason(err))
	}
	return n, nil
}

// Close implements io.Closer.
func (s *stream) Close() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// advance goes to the next entry, or to the end.
func (s *stream) advance() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if s.next == len(s.plan.Entries) {
		s.head, s.ended = make([]byte, tarEnd), true
		return nil
	}
	e := &s.plan.Entries[s.next]
	s.next++
	h := e.header()
	if e.Kind == KindFile {
		f, err := e.open()
		if err != nil {
			return err
		}
		if runtime.GOOS == "windows" && isProgram(f) {
			h.Mode = modeExecutable
		}
		if s.file, s.entry, s.left = f, e, e.Size; s.left == 0 {
			if err := s.Close(); err != nil {
				return err
			}
		}
		s.filler = (tarBlock - e.Size%tarBlock) % tarBlock
	}
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(h); err != nil {
		return err
	}
	s.head = head.Bytes()
	return nil
}

// open opens the file of an entry, which must still be one.
func (e *Entry) open() (*os.File, error) {
	f, err := os.Open(e.path)
	if err != nil {
		return nil, e.changed("cannot be read any more: " + reason(err))
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() == 0 {
		return f, nil
	}
	_ = f.Close()
	if err != nil {
		return nil, e.changed("cannot be read any more: " + reason(err))
	}
	return nil, e.changed("is no file any more")
}

func (e *Entry) changed(message string) error { return &ChangedError{Path: e.path, Message: message} }

// isProgram reports whether a file begins as one that can be executed. It is asked where files have
// no such bit; the server does the same with files that are not in an archive.
func isProgram(f io.ReaderAt) bool {
	var head [4]byte
	n, _ := f.ReadAt(head[:], 0)
	return n >= 2 && string(head[:2]) == "#!" || n == 4 && string(head[:]) == "\x7fELF"
}
