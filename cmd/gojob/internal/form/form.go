// Package form is the multipart form of a submit. It streams, and it can be sent again.
package form

import (
	"bytes"
	"context"
	"crypto/rand"
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
	// Open returns the archive. It has the same bytes each time, unless the folder has changed.
	Open(ctx context.Context) io.ReadCloser
	// Size returns how many bytes it has.
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

// Body returns the encoded form, which is read straight from the files. It ends with the first fault
// of a file or of the archive, as a *LocalError, and must be closed. Cancelling ctx ends it.
func (f *Form) Body(ctx context.Context) io.ReadCloser {
	return &body{ctx: ctx, segments: f.segments(ctx)}
}

// Length returns how many bytes the body has, or -1 if that is not known before it is sent.
func (f *Form) Length() (int64, error) {
	total := int64(0)
	for _, s := range f.segments(context.Background()) {
		size, err := s.length()
		if err != nil || size < 0 {
			return -1, err
		}
		total += size
	}
	return total, nil
}

func (f *Form) writer(w io.Writer) *multipart.Writer {
	m := multipart.NewWriter(w)
	if f.boundary == "" {
		f.boundary = "gojob-" + rand.Text() + rand.Text()
	}
	_ = m.SetBoundary(f.boundary) // it is a valid one
	return m
}

// segments are what the body is made of.
func (f *Form) segments(ctx context.Context) []segment {
	var b builder
	m := f.writer(&b.text)
	for _, field := range f.Fields {
		b.part(m, field.Name, "")
		b.text.WriteString(field.Value)
	}
	if f.Archive != nil {
		b.part(m, "archive", "archive.tar")
		b.add(segment{
			open:   func() (io.ReadCloser, error) { return f.Archive.Open(ctx), nil },
			length: f.Archive.Size, size: -1,
		})
	}
	for _, file := range f.Files {
		b.file(m, "files", file)
	}
	if f.Stdin != nil {
		b.file(m, "stdin", *f.Stdin)
	}
	_ = m.Close() // writes to memory
	b.add(segment{})
	return b.segments
}

// builder makes segments.
type builder struct {
	text     bytes.Buffer // of the form itself, which belongs to the next segment
	segments []segment
}

// part begins a part of the form. Writing to memory never fails.
func (b *builder) part(m *multipart.Writer, name, filename string) {
	h := textproto.MIMEHeader{"Content-Disposition": {disposition(name, filename)}}
	if filename != "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	_, _ = m.CreatePart(h)
}

func (b *builder) file(m *multipart.Writer, field string, f File) {
	b.part(m, field, f.Name)
	b.add(segment{
		open: f.Open, length: func() (int64, error) { return f.Size, nil }, size: f.Size, name: f.Name,
	})
}

// add adds the text up to here, and then the content of a file, unless it has no open.
func (b *builder) add(content segment) {
	text := bytes.Clone(b.text.Bytes())
	b.text.Reset()
	b.segments = append(b.segments, segment{
		text: true, size: -1, length: func() (int64, error) { return int64(len(text)), nil },
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
	})
	if content.open != nil {
		b.segments = append(b.segments, content)
	}
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
