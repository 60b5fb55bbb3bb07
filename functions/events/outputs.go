package events

import (
	"context"
	"errors"
	"fmt"
	"io"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/trigger"
)

// maxInputs bounds how many outputs of one job another can have.
const maxInputs = 1000

// outputsOf are the outputs of the job that the event is about. Anybody can send an event, so what
// counts is not that it came but whose the two jobs are, and what is recorded of the first.
func (f *Function) outputsOf(ctx context.Context, e cloudevent.Event, owner string) ([]admission.Source, error) {
	id, step, ours := event.StepOf(e)
	if !ours || !step.Ends() {
		return nil, job.Invalid("withOutputs", "is for events that a job has succeeded, failed or was cancelled")
	}
	index, err := f.records.Live(ctx, id)
	if errors.Is(err, job.ErrNotFound) || err == nil && index.Owner != owner {
		return nil, job.Refuse(job.ErrForbidden, "withOutputs",
			"the job is gone, or it belongs to another owner than this template")
	}
	if err != nil {
		return nil, err
	}
	t, err := f.records.Terminal(ctx, id)
	if errors.Is(err, job.ErrNotFound) || err == nil && job.EndOf(t.Phase) != step {
		return nil, job.Invalid("withOutputs", fmt.Sprintf("the event says that the job has %s, and it has not", step))
	}
	if err != nil {
		return nil, err
	}
	files, err := f.records.Outputs(ctx, id)
	if err != nil {
		return nil, err
	}
	total := int64(0)
	list := make([]admission.Source, len(files))
	for i, file := range files {
		total += file.Size
		name := trigger.InputsDir + "/" + file.Name
		list[i] = admission.Source{Name: name, Mode: file.Mode, Open: func(ctx context.Context) (io.ReadCloser, error) {
			r, err := f.bucket.Open(ctx, ledger.ResultKey(id, file.Name), 0, -1)
			if errors.Is(err, job.ErrNotFound) {
				return nil, job.Refuse(job.ErrForbidden, "withOutputs", "the job has just been removed")
			}
			return r, err
		}}
	}
	most := int64(f.admission.Settings.MaxUpload)
	if len(list) > maxInputs || total > most {
		return nil, job.Refuse(job.ErrTooLarge, "withOutputs", fmt.Sprintf(
			"the job has %d outputs with %d bytes; at most %d with %d (MAX_UPLOAD_BYTES) are handed on", len(list), total,
			maxInputs, most))
	}
	return list, nil
}
