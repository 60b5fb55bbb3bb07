package artifacts

import (
	"context"
	"fmt"
	"net/http"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
)

// link answers with a URL of the bucket to which an output can be sent past this function. Whoever gets none, an error of kind job.ErrNotFound, sends
// it here. What came is looked at when the list of outputs is stored.
func (f *Function) link(ctx context.Context, u upload) (any, error) {
	var want executor.LinkRequest
	if err := decode(ctx, u.body, &want); err != nil {
		return nil, err
	}
	if message := job.CheckOutputName(want.Name); message != "" {
		return nil, job.Invalid("name", message)
	}
	if want.Size < 0 {
		return nil, job.Invalid("size", "is negative")
	}
	if want.Size > int64(f.settings.MaxOutput) {
		return nil, job.Refuse(job.ErrTooLarge, "size", fmt.Sprintf("is larger than %d bytes", f.settings.MaxOutput))
	}
	if f.links == 0 || want.Size > store.MaxLinkSize {
		return nil, errNoLink()
	}
	id := u.index.JobID
	if err := f.stillTaken(ctx, id); err != nil {
		return nil, err
	}
	// What is sent to the URL after the job has been removed must be found.
	if err := f.ledger.BeginLinks(ctx, id, f.now().Add(f.links)); err != nil {
		return nil, err
	}
	url, ok, err := f.store.Link(ctx, ledger.ResultKey(id, want.Name), store.Link{Method: http.MethodPut, Expiry: f.links, Size: want.Size})
	if err != nil {
		f.log.WarnContext(ctx, "no signed URL; the function takes the output itself", "job", id, "error", err)
	}
	if err != nil || !ok {
		return nil, errNoLink()
	}
	return executor.Link{URL: url, Headers: f.store.LinkHeaders()}, nil
}

func errNoLink() error {
	return fmt.Errorf("a URL for uploads: %w", job.ErrNotFound)
}
