// Package form is the multipart form of a submit. It streams, and it can be sent again.
package form

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"os"
	"strings"
)

// Form is what a submit sends. Nothing is read before it is sent.
type Form struct {
	Fields []Field
	// Files are sent as parts of the form; Archive as one part, if it is not nil.
	Files   []File
	Archive Archive
	// Stdin is what the program reads; nil for none.
	Stdin *File

	boundary string // the same for each try, so that Length holds
}

// Field is a part with text. Name may be repeated.
type Field struct{ Name, Value string }

// File is a part with the content of a file.
type File struct {
	Name string // in the job's workspace, with slashes
	Size int64  // -1 if it is not known
	// Open returns the content, each time from its beginning.
	Open func() (io.ReadCloser, error)
}

// Archive is a folder that is packed while it is sent.
type Archive interface {
	// Pack writes the archive. It writes the same bytes each time, unless the folder has changed.
	Pack(ctx context.Context, w io.Writer) error
	// Size returns how many bytes Pack writes.
	Size() (int64, error)
}

// LocalError says that something on this machine could not be read, so that the form cannot be sent.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

// Add adds a field, unless its value is empty.
func (f *Form) Add(name, value string) {
	if value != "" {
		f.Fields = append(f.Fields, Field{name, value})
	}
}

// ContentType returns the type of the body, which is the same for each try.
func (f *Form) ContentType() string { return f.writer(io.Discard).FormDataContentType() }

// Body returns the encoded form. The reader ends with the first fault of a file or of the archive, as
// a *LocalError, and must be closed. Cancelling ctx ends it.
func (f *Form) Body(ctx context.Context) io.ReadCloser {
	r, w := io.Pipe()
	m := f.writer(w)
	go func() { _ = w.CloseWithError(f.write(ctx, m, sendContent{ctx})) }()
	return r
}

// Length returns how many bytes the body has, or -1 if that is not known before it is sent.
func (f *Form) Length() (int64, error) {
	var n counter
	err := f.write(context.Background(), f.writer(&n), countContent{&n})
	if errors.Is(err, errUnknown) {
		return -1, nil
	}
	return int64(n), err
}

func (f *Form) writer(w io.Writer) *multipart.Writer {
	m := multipart.NewWriter(w)
	if f.boundary == "" {
		f.boundary = "gojob-" + rand.Text() + rand.Text()
	}
	_ = m.SetBoundary(f.boundary) // it is a valid one
	return m
}

// content puts the content of a part into the form.
type content interface {
	file(w io.Writer, f File) error
	archive(w io.Writer, a Archive) error
}

func (f *Form) write(ctx context.Context, m *multipart.Writer, c content) error {
	for _, field := range f.Fields {
		if err := writePart(m, field.Name, "", func(w io.Writer) error {
			_, err := io.WriteString(w, field.Value)
			return err
		}); err != nil {
			return err
		}
	}
	if f.Archive != nil {
		err := writePart(m, "archive", "archive.tar", func(w io.Writer) error { return c.archive(w, f.Archive) })
		if err != nil {
			return err
		}
	}
	for _, file := range f.Files {
		if err := writeFile(m, "files", file, c); err != nil {
			return err
		}
	}
	if f.Stdin != nil {
		if err := writeFile(m, "stdin", *f.Stdin, c); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return m.Close()
}

func writeFile(m *multipart.Writer, name string, file File, c content) error {
	return writePart(m, name, file.Name, func(w io.Writer) error { return c.file(w, file) })
}

func writePart(m *multipart.Writer, name, filename string, write func(w io.Writer) error) error {
	h := textproto.MIMEHeader{"Content-Disposition": {disposition(name, filename)}}
	if filename != "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	part, err := m.CreatePart(h)
	if err != nil {
		return err
	}
	return write(part)
}

// disposition writes names as browsers do (WHATWG HTML, "multipart/form-data encoding algorithm"),
// which the server decodes. A file name that has what looks like an escape is written as RFC 5987
// does.
func disposition(name, filename string) string {
	text := `form-data; name="` + escape(name) + `"`
	switch {
	case filename == "":
	case unescape(escape(filename)) != filename:
		text += "; filename*=UTF-8''" + percent(filename)
	default:
		text += `; filename="` + escape(filename) + `"`
	}
	return text
}

// percent encodes a name as RFC 8187 does, section 3.2.1.
func percent(s string) string {
	var out strings.Builder
	for i := range len(s) {
		if b := s[i]; 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' || b == '.' || b == '-' || b == '_' {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

func escape(s string) string {
	return strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A").Replace(s)
}

func unescape(s string) string {
	return strings.NewReplacer("%22", `"`, "%0D", "\r", "%0d", "\r", "%0A", "\n", "%0a", "\n").Replace(s)
}

// sendContent sends what the parts have.
type sendContent struct {
	ctx context.Context //nolint:containedctx // lives as long as one body
}

func (s sendContent) archive(w io.Writer, a Archive) error {
	out := &noting{w: w}
	return out.local(a.Pack(s.ctx, out))
}

const copyBuffer = 256 << 10

func (s sendContent) file(w io.Writer, f File) error {
	out := &noting{w: w}
	return out.local(s.copy(out, f))
}

func (s sendContent) copy(w io.Writer, f File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	source := io.Reader(r)
	if f.Size >= 0 {
		source = io.LimitReader(r, f.Size) // one that grows is sent as far as it was
	}
	// The structs hide WriteTo and ReadFrom, which would take buffers of their own.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{source}, make([]byte, copyBuffer))
	if err == nil && f.Size >= 0 && n != f.Size {
		err = fmt.Errorf("%s became shorter while it was sent: it had %d bytes and has %d", f.Name, f.Size, n)
	}
	return err
}

// noting keeps the error of the destination, so that it can be told from one of this machine.
type noting struct {
	w   io.Writer
	err error
}

func (n *noting) Write(p []byte) (int, error) {
	k, err := n.w.Write(p)
	if err != nil {
		n.err = err
	}
	return k, err
}

func (n *noting) local(err error) error {
	if err == nil || n.err != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &LocalError{err}
}

// countContent counts what the parts have.
type countContent struct{ n *counter }

var errUnknown = errors.New("the length is not known")

func (c countContent) archive(_ io.Writer, a Archive) error {
	size, err := a.Size()
	*c.n += counter(size)
	return err
}

func (c countContent) file(_ io.Writer, f File) error {
	if f.Size < 0 {
		return errUnknown
	}
	*c.n += counter(f.Size)
	return nil
}

// counter counts what is written.
type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

// Local is a file of this machine, which is sent with a name.
func Local(path, name string) (File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	if info.IsDir() {
		return File{}, fmt.Errorf("%s is a folder", path)
	}
	if !info.Mode().IsRegular() { // such as a FIFO, which can be read once
		f, err := os.Open(path)
		if err != nil {
			return File{}, err
		}
		defer f.Close()
		return Spool(f, name)
	}
	f, err := os.Open(path) // so that a fault is found before anything is sent
	if err != nil {
		return File{}, err
	}
	return File{
		Name: name, Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(path) },
	}, f.Close()
}

// Text is a file whose content is in memory.
func Text(name, text string) File {
	return File{Name: name, Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}
