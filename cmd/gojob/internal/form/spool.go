package form

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

// Spool reads a source that can be read once, such as a pipe, into a temporary file, so that it can
// be sent more than once. The file has no name any more where systems allow that, so that it is gone
// with the process; elsewhere it stays in the folder for temporary files.
func Spool(r io.Reader, name string) (File, error) {
	if f, ok := regular(r); ok {
		return f.file(name), nil
	}
	temp, err := os.CreateTemp("", "gojob-*")
	if err != nil {
		return File{}, fmt.Errorf("keep the input for another try: %w", err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Remove(temp.Name()); err != nil {
			return File{}, err
		}
	}
	n, err := io.Copy(temp, r)
	if err != nil {
		_ = temp.Close()
		return File{}, fmt.Errorf("keep the input for another try: %w", err)
	}
	return section{temp, 0, n}.file(name), nil
}

// section is a part of an open file.
type section struct {
	f    *os.File
	from int64
	size int64
}

func (s section) file(name string) File {
	return File{Name: name, Size: s.size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(s.f, s.from, s.size)), nil
	}}
}

// regular returns what is left of a source that is an ordinary file, as with "gojob run - < x.py".
func regular(r io.Reader) (section, bool) {
	f, ok := r.(*os.File)
	if !ok {
		return section{}, false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return section{}, false
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return section{}, false
	}
	return section{f, at, max(info.Size()-at, 0)}, true
}
