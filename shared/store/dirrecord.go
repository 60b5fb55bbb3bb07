package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go-job-orchestrator/shared/job"
)

const tempSuffix = ".tmp"

// tempDir is the folder for records in the making. fileblob's own temporary files lie next to what
// they become, in folders that go with their jobs.
const tempDir = ".tmp"

// create links a finished temporary file to its name. link(2) is the atomic step: fileblob's own
// conditional write is a stat and a rename, of which several can win.
func (d *directory) create(_ context.Context, key string, data []byte) error {
	path := d.path(key)
	// A folder can be pruned between its making and its use.
	var err error
	for range attempts {
		if err = os.MkdirAll(filepath.Dir(path), dirMode); isPruned(err) {
			err = fmt.Errorf("make its folder: %v", err) //nolint:errorlint // it is the folder that exists, not the record
			continue
		}
		if err == nil {
			err = d.createIn(path, data)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create %s: %w", key, job.ErrExists)
	}
	return d.kindOrNil(err, "create", key)
}

// isPruned reports whether making a folder failed because one was removed meanwhile. MkdirAll says
// that a folder exists when that is gone again by the time it looks; a file in its place would be
// another error.
func isPruned(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) }

func (d *directory) createIn(path string, data []byte) error {
	if len(data) == 0 { // has no content that could be seen half written
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return f.Close()
	}
	temp, err := d.temporary()
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Link(temp.Name(), path)
	}
	if err != nil {
		return err
	}
	// The folder may be gone by now, but only with the record: it existed, and must not come back.
	if err := syncDir(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *directory) temporary() (*os.File, error) {
	dir := filepath.Join(d.root, tempDir)
	temp, err := os.CreateTemp(dir, "record-*"+tempSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return nil, err
		}
		return os.CreateTemp(dir, "record-*"+tempSuffix)
	}
	return temp, err
}

// sweep removes the temporary files of writers that died.
func (d *directory) sweep(_ context.Context, age time.Duration) error {
	dir := filepath.Join(d.root, tempDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep temporary files: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < age {
			continue // it has just become a record
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep temporary files: %w", err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
