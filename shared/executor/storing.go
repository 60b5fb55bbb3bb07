package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

func (c *collector) storeLog(ctx context.Context, name string, f *os.File) {
	info, err := f.Stat()
	if err != nil {
		c.lose(err)
		return
	}
	c.store(ctx, job.File{Name: name, Size: info.Size()}, f, func() {})
}

// storeOrder stores the order of the log, if there is a log: without it nobody reads the whole
// files.
func (c *collector) storeOrder(ctx context.Context, l spool.Files) {
	order, err := l.Records()
	if err == nil && order.Size() > 0 {
		err = c.persist(ctx, func() error {
			_, err := order.Seek(0, io.SeekStart)
			return errors.Join(err, c.to.PutOrder(ctx, order))
		})
	}
	if err != nil {
		c.lose(fmt.Errorf("store the order of the log: %w", err))
	}
}

// storeTries is how often storing one output is tried before it is given up as lost.
const storeTries = 3

// Outputs of at most smallOutput bytes are stored atOnce at a time: what they take is the waiting
// for answers. A larger one has the whole connection, and the memory of the other side, for itself.
const (
	smallOutput = 1 << 20
	atOnce      = 4
)

// store stores exactly as many bytes of f as the output has, at once or soon, and then calls over;
// a file whose tree is dead does not grow.
func (c *collector) store(ctx context.Context, output job.File, f *os.File, over func()) {
	if output.Size <= smallOutput {
		c.small.Go(func() error {
			defer over()
			c.put(ctx, output, f)
			return nil
		})
		return
	}
	c.settle()
	defer over()
	c.put(ctx, output, f)
}

// settle waits for all small outputs.
func (c *collector) settle() { _ = c.small.Wait() } // errors are noted where they occur

func (c *collector) put(ctx context.Context, output job.File, f *os.File) {
	name := output.Name
	var stored job.File
	err := c.persist(ctx, func() (err error) {
		stored, err = c.to.PutResult(ctx, name, io.NewSectionReader(f, 0, output.Size))
		return err
	})
	if reason := refusal(err); reason != "" && !job.IsLog(name) {
		c.omit(name, reason)
		return
	}
	if err != nil {
		c.omit(name, "could not be stored")
		c.lose(fmt.Errorf("store %s: %w", name, err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stored.Mode = output.Mode
	c.files = append(c.files, stored)
	c.summary.Count++
	c.summary.Bytes += stored.Size
}

// persist tries to store something a few times.
func (c *collector) persist(ctx context.Context, store func() error) (err error) {
	for try := range storeTries {
		if try > 0 && !backoff.Wait(ctx, c.retry) {
			return err
		}
		err = store()
		if err == nil || errors.Is(err, job.ErrExhausted) || refusal(err) != "" {
			return err
		}
	}
	return err
}

// refusal says why the storage does not take an output, for a cause that lies in the output itself.
func refusal(err error) string {
	switch {
	case errors.Is(err, job.ErrInvalid), errors.Is(err, job.ErrConflict):
		return "the storage cannot hold a file of this name: it is too long, or one part of it is the name of another file"
	case errors.Is(err, job.ErrTooLarge):
		return "is larger than the storage takes (MAX_OUTPUT_BYTES)"
	}
	return ""
}
