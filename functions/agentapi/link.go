package agentapi

import (
	"context"
	"fmt"
	"net/http"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/upload"
)

// link answers with a URL of the bucket to which an output can be sent past the functions. Whoever
// gets none, an error of kind job.ErrNotFound, sends it to artifacts. What came is looked at when
// the list of outputs is stored.
func (f *Function) link(ctx context.Context, u upload.Upload) (any, error) {
	var want agentwire.LinkRequest
	if err := u.Body.Decode(ctx, &want); err != nil {
		return nil, err
	}
	if message := job.CheckOutputName(want.Name); message != "" {
		return nil, job.Invalid("name", message)
	}
	if want.Size < 0 {
		return nil, job.Invalid("size", "is negative")
	}
	if want.Size > f.MaxOutput {
		return nil, job.Refuse(job.ErrTooLarge, "size", fmt.Sprintf("is larger than %d bytes", f.MaxOutput))
	}
	if f.Links == 0 || want.Size > store.MaxLinkSize {
		return nil, errNoLink()
	}
	id := u.Index.JobID
	if err := f.Uploads.CheckOutputs(ctx, id); err != nil {
		return nil, err
	}
	// What is sent to the URL after the job has been removed must be found.
	if err := f.Ledger.BeginLinks(ctx, id, f.Now().Add(f.Links)); err != nil {
		return nil, err
	}
	url, ok, err := f.Store.Link(ctx, ledger.ResultKey(id, want.Name), store.Link{Method: http.MethodPut, Expiry: f.Links,
		Size: want.Size})
	if err != nil {
		f.Log.WarnContext(ctx, "no signed URL; the function takes the output itself", "job", id, "error", err)
	}
	if err != nil || !ok {
		return nil, errNoLink()
	}
	return agentwire.Link{URL: url, Headers: f.Store.LinkHeaders()}, nil
}

func errNoLink() error {
	return fmt.Errorf("a URL for uploads: %w", job.ErrNotFound)
}
