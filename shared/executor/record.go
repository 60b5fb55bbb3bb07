package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"go-job-orchestrator/shared/job"
)

// maxRecord bounds the files by which the parts of an attempt tell each other how far they are: a
// program in the same container could make them as large as it likes.
const maxRecord = 16 << 20

// WriteRecord writes a small file of the workspace in JSON, which others see whole or not at all.
func (w Workspace) WriteRecord(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	root, err := os.OpenRoot(w.root)
	if err != nil {
		return err
	}
	defer root.Close()
	temp := name + ".tmp"
	// A link in its place would be written through.
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return root.Rename(temp, name)
}

// ReadRecord reads such a file. A link or a FIFO that a program put in its place is not followed
// and does not block.
func (w Workspace) ReadRecord(name string, into any) error {
	root, err := os.OpenRoot(w.root)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return fmt.Errorf("%s: %w: no record of ours", name, job.ErrInvalid)
	}
	if err := json.NewDecoder(io.LimitReader(f, maxRecord)).Decode(into); err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	return nil
}
