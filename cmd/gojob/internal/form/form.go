// Package form is the multipart form of a submit. It streams, and it can be sent again.
package form

import (
	"context"
	"io"
	"mime/multipart"
)

// Form is what a submit sends. Nothing is read before it is sent.
type Form struct {
	Fields []Field
	// Files are sent as parts of the form; Archive as one part, if it is not nil.
	Files   []File
	Archive Archive
	// Stdin is what the program reads; nil for none.
	Stdin *File
}

// Field is a part with text. Name may be repeated.
type Field struct{ Name, Value string }

// File is a part with the content of a file.
type File struct {
	Name string // in the job's workspace, with slashes
	Size int64  // -1 if it is not known
	Open func() (io.ReadCloser, error)
}

// Archive is a folder that is packed while it is sent.
type Archive interface {
	// Pack writes the archive. It writes the same bytes each time, unless the folder has changed.
	Pack(ctx context.Context, w io.Writer) error
}

// Add adds a field, unless its value is empty.
func (f *Form) Add(name, value string) {
	if value != "" {
		f.Fields = append(f.Fields, Field{name, value})
	}
}

// Body returns the encoded form and its content type. The reader ends with the first fault of a file
// or of the archive, and must be closed. Cancelling ctx ends it.
func (f *Form) Body(ctx context.Context) (io.ReadCloser, string) {
	r, w := io.Pipe()
	m := multipart.NewWriter(w)
	go func() { _ = w.CloseWithError(f.write(ctx, m)) }()
	return r, m.FormDataContentType()
}

func (f *Form) write(ctx context.Context, m *multipart.Writer) error {
	for _, field := range f.Fields {
		if err := m.WriteField(field.Name, field.Value); err != nil {
			return err
		}
	}
	if f.Archive != nil {
		part, err := m.CreateFormFile("archive", "archive.tar")
		if err != nil {
			return err
		}
		if err := f.Archive.Pack(ctx, part); err != nil {
			return err
		}
	}
	for _, file := range f.Files {
		if err := writeFile(m, "files", file); err != nil {
			return err
		}
	}
	if f.Stdin != nil {
		if err := writeFile(m, "stdin", *f.Stdin); err != nil {
			return err
		}
	}
	return m.Close()
}

func writeFile(m *multipart.Writer, name string, file File) error {
	part, err := m.CreateFormFile(name, file.Name)
	if err != nil {
		return err
	}
	content, err := file.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(part, content)
	return err
}
