// Package secretfile is the operator's secrets in a file, for a server that runs jobs on its own
// machine.
package secretfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/secret"
)

// checkEvery is how often the file is looked at, when somebody asks.
const checkEvery = time.Second

// maxBytes bounds the file.
const maxBytes = 8 << 20

// File is the secrets in a file. It is read again when it has changed. It is safe for concurrent
// use.
type File struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex
	content content
	seen    fs.FileInfo
	checked time.Time
}

var _ secret.Catalog = (*File)(nil)

// Open reads the file of that path. The error names all that is wrong with it.
func Open(path string, now func() time.Time, log *slog.Logger) (*File, error) {
	f := &File{path: path, now: now, log: log}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Entries implements secret.Catalog.
func (f *File) Entries(context.Context) ([]secret.Entry, error) { return f.current().entries, nil }

// Value returns the value of a secret for a job whose owner had this role. The error is a message
// for the owner.
func (f *File) Value(name string, role access.Role) (string, error) {
	c := f.current()
	e, found := secret.Find(c.entries, name, role)
	if !found {
		return "", fmt.Errorf("the operator's secret %s is gone, or is not for the role %s any more", name, role)
	}
	return c.values[e.Name], nil
}

// current returns the content. While the file cannot be read it is that which was read last: a
// mistake in the file must not end everybody's jobs.
func (f *File) current() content {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.checked) >= checkEvery || now.Before(f.checked) {
		if err := f.read(); err != nil {
			f.log.Error("secrets not read again; those read before are in force", "error", err)
		}
	}
	return f.content
}

// read reads the file if it is another than the one that was read.
func (f *File) read() error {
	f.checked = f.now()
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("SECRETS_FILE: %w", err)
	}
	if f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) &&
		info.Size() == f.seen.Size() && info.Mode() == f.seen.Mode() {
		return nil
	}
	f.seen = info // a faulty file is reported once
	data, err := load(f.path)
	if err != nil {
		return fmt.Errorf("SECRETS_FILE: %w", err)
	}
	c, faults := parse(data)
	if len(faults) > 0 {
		return fmt.Errorf("SECRETS_FILE: %s: %s", f.path, strings.Join(faults, "; "))
	}
	f.content = c
	return nil
}

// load reads a file that only its owner may read or write.
func load(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("others than its owner can use %s, whose mode is %04o: chmod 600 %s", path, info.Mode().Perm(),
			path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = errors.New("is larger than 8 MiB")
	}
	return data, err
}
