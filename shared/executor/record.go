package executor

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	"go-job-orchestrator/shared/job"
)

// maxRecord bounds the files by which the parts of an attempt tell each other how far they are: a program in the same container could make
// them as large as it likes.
const maxRecord = 16 << 20

// WriteRecord writes a small file in JSON, which others see whole or not at all.
func WriteRecord(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// ReadRecord reads such a file. A link or a FIFO that a program put in its place is not followed and does not block.
func ReadRecord(path string, into any) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return fmt.Errorf("%s: %w: no record of ours", path, job.ErrInvalid)
	}
	if err := json.NewDecoder(io.LimitReader(f, maxRecord)).Decode(into); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}
