package admission

import (
	"context"
	"fmt"
	"io"
	"slices"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// opener opens a stored file by its name.
type opener func(ctx context.Context, name string) (io.ReadCloser, error)

// copyAll copies what a job gets from a template or from another job: the files, and stdin unless it
// is nil.
func (tx *Tx) copyAll(ctx context.Context, files []job.File, stdin *job.File, open opener) error {
	if stdin != nil {
		files = append(slices.Clone(files), *stdin)
	}
	for _, want := range files {
		got, err := tx.copy(context.WithoutCancel(ctx), Source{Name: want.Name,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return open(ctx, want.Name) }})
		if err != nil {
			return err
		}
		if got.SHA256 != want.SHA256 {
			return fmt.Errorf("file %q is not what was stored", want.Name)
		}
	}
	return nil
}

// drop removes files that were copied and are not wanted any more.
func (tx *Tx) drop(ctx context.Context, files []job.File) error {
	for _, file := range files {
		if err := tx.c.bucket.Remove(context.WithoutCancel(ctx), ledger.FileKey(tx.id, file.Name)); err != nil {
			return err
		}
	}
	return nil
}

// checkStdin refuses to store a stdin beside a file of the same name, which only jobs and templates
// of earlier versions have.
func checkStdin(stdin *job.File, files []job.File) error {
	named := func(f job.File) bool { return f.Name == job.StdinFile }
	if stdin == nil || !slices.ContainsFunc(files, named) {
		return nil
	}
	return job.Invalid("stdin", fmt.Sprintf("cannot be sent, because one of the files is named %q, from before that "+
		"name was reserved; submit the files anew and rename it", job.StdinFile))
}

// join returns all faults of the errors as one error, or the first error that is none.
func join(errs ...error) error {
	all := &job.Faults{Kind: job.ErrInvalid}
	for _, err := range slices.Backward(errs) {
		if failed := all.Prepend(err); failed != nil {
			return failed
		}
	}
	if len(all.List) == 0 {
		return nil
	}
	return all
}
