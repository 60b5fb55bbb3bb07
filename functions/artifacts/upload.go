package artifacts

import (
	"context"
	"fmt"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/upload"
)

// put takes an output.
func (f *Function) put(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return err
	}
	name := download.Name(p.ByName("filename"))
	if message := job.CheckOutputName(name); message != "" {
		return job.Invalid("filename", message)
	}
	return f.Uploads.Receive(w, r, id, f.MaxOutput, func(ctx context.Context, u upload.Upload) (any, error) {
		return f.output(ctx, u, name)
	})
}

// output stores a file. The same file may come again, until the list of outputs is stored: what
// that describes stays as it is.
func (f *Function) output(ctx context.Context, u upload.Upload, name string) (any, error) {
	id := u.Index.JobID
	if err := f.Uploads.CheckOutputs(ctx, id); err != nil {
		return nil, err
	}
	key := ledger.ResultKey(id, name)
	d, err := f.Store.Put(ctx, key, u.Body)
	if upload.IsClash(err) {
		return nil, job.Refuse(job.ErrConflict, "filename", fmt.Sprintf("%q cannot be stored beside the others: a name is "+
			"both a file's and a folder's", name))
	}
	if err != nil {
		return nil, err
	}
	return job.File{Name: name, Size: d.Size, SHA256: d.SHA256}, f.Uploads.CheckRemoved(ctx, id, key)
}
