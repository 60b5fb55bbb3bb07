// Package reload keeps what a file says: it reads the file again when the file has changed. The file
// may be part of a mounted Secret or ConfigMap.
package reload

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkEvery is how often the file is looked at, when somebody asks. A change takes effect that much
// later.
const checkEvery = time.Second

// Config says which file it is.
type Config[T any] struct {
	What  string // what the file has, for messages: "keys"
	Path  string
	Limit int64 // the maximum size of the file, in bytes
	// Parse makes a value of the file's content, or of nothing if there is no file.
	Parse func(content []byte) (T, error)
	Now   func() time.Time
	Log   *slog.Logger
}

// File is a value in a file. It is safe for concurrent use.
type File[T any] struct {
	config Config[T]

	mu      sync.Mutex
	value   T
	seen    fs.FileInfo // nil: there was no file
	checked time.Time
}

// Open reads the file. A file that does not exist is like an empty one.
func Open[T any](c Config[T]) (*File[T], error) {
	f := &File[T]{config: c}
	value, err := c.Parse(nil)
	if err != nil {
		return nil, err
	}
	f.value = value
	return f, f.read()
}

// Current returns the value, which must not be changed. While the file cannot be read, or its content
// is faulty, the value stays the one that was read last.
func (f *File[T]) Current() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.config.Now(); now.Sub(f.checked) >= checkEvery || now.Before(f.checked) {
		if err := f.read(); err != nil {
			f.config.Log.Error(f.config.What+" not read again; what was read before stays in force",
				"file", f.config.Path, "error", err)
		}
	}
	return f.value
}

// Reload reads the file again, as after a change by this process, which Current shall not miss.
func (f *File[T]) Reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = nil
	return f.read()
}

// read reads the file if it is not the one that was read last.
func (f *File[T]) read() error {
	f.checked = f.config.Now()
	info, err := os.Stat(f.config.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.seen = nil
	case err != nil:
		return fmt.Errorf("%s: %w", f.config.What, err)
	case f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) &&
		info.Size() == f.seen.Size():
		return nil
	default:
		f.seen = info // a faulty file is reported once
	}
	value, err := Read(f.config)
	if err != nil {
		return err
	}
	f.value = value
	return nil
}

// Read returns the value that the file has now.
func Read[T any](c Config[T]) (T, error) {
	content, err := readFile(c.Path, c.Limit)
	if err != nil {
		var none T
		return none, fmt.Errorf("%s: %w", c.What, err)
	}
	value, err := c.Parse(content)
	if err != nil {
		return value, fmt.Errorf("%s: %w", c.Path, err)
	}
	return value, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return content, err
}
