package outputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// maxArchives is how many archives are made at a time: each takes more than a megabyte for as long
// as its client takes to read it. packPatience is how long others wait.
const (
	maxArchives  = 16
	packPatience = 10 * time.Second
)

// finished is when a job was over, or its agent said that it was.
func (f *Function) finished(ctx context.Context, index *job.Index) (time.Time, error) {
	t, err := f.records.Terminal(ctx, index.JobID)
	if err == nil {
		return t.FinishedAt, nil
	}
	if !errors.Is(err, job.ErrNotFound) {
		return time.Time{}, err
	}
	r, err := f.report(ctx, index)
	if err != nil {
		return time.Time{}, err
	}
	if r.Attempt.FinishedAt != nil {
		return *r.Attempt.FinishedAt, nil
	}
	if err := f.stored(ctx, index.JobID, http.StatusConflict); err != nil {
		return time.Time{}, err
	}
	if t, err = f.records.Terminal(ctx, index.JobID); err != nil { // it has come to its end just now
		return time.Time{}, err
	}
	return t.FinishedAt, nil
}

// archive streams all outputs of a job that is over; before, some could be missing.
func (f *Function) archive(
	w http.ResponseWriter, r *http.Request, format download.Format, index *job.Index, files []job.File,
) error {
	finished, err := f.finished(r.Context(), index)
	if err != nil {
		return err
	}
	download.SetHeaders(w.Header(), job.File{Name: index.JobName + format.Extension, ContentType: format.ContentType})
	w.Header().Set("Accept-Ranges", "none") // made anew for every request
	if r.Method == http.MethodHead {
		return nil
	}
	wait, cancel := context.WithTimeout(r.Context(), packPatience)
	defer cancel()
	if f.packing.Acquire(wait, 1) != nil {
		return errors.Join(r.Context().Err(), job.Refuse(job.ErrUnavailable, "",
			fmt.Sprintf("%d archives are being made; ask again, or for single files", maxArchives)))
	}
	defer f.packing.Release(1)
	key := func(name string) string { return ledger.ResultKey(index.JobID, name) }
	return api.Stream(w, r, f.log.With("job", index.JobID), func(w io.Writer) error {
		return format.Write(r.Context(), w, f.bucket, key, files, finished)
	})
}
