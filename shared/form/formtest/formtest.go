// Package formtest writes forms for tests, part by part and as raw as a client can.
package formtest

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Part is a part of a form.
type Part struct{ Header, Body string }

// Boundary is that of all forms; ContentType names it.
const (
	Boundary    = "bOuNdArY"
	ContentType = "multipart/form-data; boundary=" + Boundary
)

// Field is a part that is a field.
func Field(name, value string) Part {
	return Part{`Content-Disposition: form-data; name="` + name + `"`, value}
}

// File is a part that is a file.
func File(name, content string) Part {
	return Part{`Content-Disposition: form-data; name="files"; filename="` + name + `"`, content}
}

// Archive is a part that is an archive.
func Archive(name, content string) Part {
	return Part{`Content-Disposition: form-data; name="archive"; filename="` + name + `"`, content}
}

// Raw is a part as its client writes it.
func Raw(header, body string) Part { return Part{header, body} }

// Files are so many small files.
func Files(n int) []Part {
	list := make([]Part, n)
	for i := range list {
		list[i] = File(fmt.Sprintf("f%d", i), "x")
	}
	return list
}

// Script is the least that makes a job, and more.
func Script(more ...Part) []Part {
	return append([]Part{Field("runtime", "python"), Field("entrypoint", "a.py"), File("a.py", "print(1)\n")}, more...)
}

// Repeat is a part many times.
func Repeat(p Part, n int) []Part { return slices.Repeat([]Part{p}, n) }

// Encode is a form with these parts.
func Encode(parts ...Part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--" + Boundary + "\r\n" + p.Header + "\r\n\r\n" + p.Body + "\r\n")
	}
	return b.String() + "--" + Boundary + "--\r\n"
}

// Endless is a form whose last part does not end by itself.
func Endless(parts ...Part) io.Reader {
	return io.MultiReader(strings.NewReader(strings.TrimSuffix(Encode(parts...), "\r\n--"+Boundary+"--\r\n")), Zeros{})
}

// Zeros is a reader that goes on for ever.
type Zeros struct{}

// Read implements io.Reader.
func (Zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
