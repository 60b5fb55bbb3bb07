package artifacts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/token"
)

// upload is what one request brings.
type upload struct {
	index *job.Index
	body  *body
}

// receiver takes uploads of one kind.
type receiver struct {
	limit int64 // of the body
	// store returns what to answer with, or nil.
	store func(ctx context.Context, u upload) (any, error)
}

// put takes an output, or one of the agent's records under .job/.
func (f *Function) put(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := api.Authorize(r, p, f.keys, token.Agent)
	if err != nil {
		return err
	}
	to, err := f.receiver(download.Name(p.ByName("filename")))
	if err != nil {
		return err
	}
	// A client that has sent everything and closed its side still waits for the answer, which net/http does not know. One that
	// has gone ends the body.
	ctx := context.WithoutCancel(r.Context())
	index, err := f.open(ctx, id)
	if err != nil {
		return err
	}
	body, err := newBody(r, to.limit)
	if err != nil {
		return err
	}
	// The deadline is the kernel's: not f.now.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(f.settings.UploadTimeout))
	stored, err := to.store(ctx, upload{index, body})
	if err != nil {
		return err
	}
	if stored == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	api.WriteJSON(w, http.StatusCreated, stored)
	return nil
}

// receiver returns what takes uploads of a name.
func (f *Function) receiver(name string) (*receiver, error) {
	if record, found := strings.CutPrefix(name, job.PrivateDir+"/"); found {
		return f.recordReceiver(record)
	}
	if message := job.CheckOutputName(name); message != "" {
		return nil, job.Invalid("filename", message)
	}
	return &receiver{limit: int64(f.settings.MaxOutput), store: func(ctx context.Context, u upload) (any, error) {
		return f.output(ctx, u, name)
	}}, nil
}

// open returns the job if it still takes uploads.
func (f *Function) open(ctx context.Context, id job.ID) (*job.Index, error) {
	index, err := f.ledger.Index(ctx, id)
	if err != nil {
		return nil, err
	}
	over, err := f.ledger.Over(ctx, id)
	if err != nil {
		return nil, err
	}
	if over {
		return nil, errOver()
	}
	return index, nil
}

func errOver() error {
	return api.Fail(http.StatusConflict, "The job is over; nothing more is taken for it.")
}

// output stores a file. The same file may come again, until the list of outputs is stored: what that describes stays as
// it is.
func (f *Function) output(ctx context.Context, u upload, name string) (any, error) {
	id := u.index.JobID
	if err := f.stillTaken(ctx, id); err != nil {
		return nil, err
	}
	key := ledger.ResultKey(id, name)
	d, err := f.store.Put(ctx, key, u.body)
	if isClash(err) {
		return nil, job.Refuse(job.ErrConflict, "filename", fmt.Sprintf("%q cannot be stored beside the others: a name is both a file's and a folder's", name))
	}
	if err != nil {
		return nil, err
	}
	return job.File{Name: name, Size: d.Size, SHA256: d.SHA256}, f.stillThere(ctx, id, key)
}

// stillThere removes what was stored for a job that has been removed meanwhile: nobody else ever would.
func (f *Function) stillThere(ctx context.Context, id job.ID, key string) error {
	_, err := f.ledger.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		err = errors.Join(err, f.store.Remove(ctx, key))
	}
	return err
}

// stillTaken is an error once the list of outputs is stored.
func (f *Function) stillTaken(ctx context.Context, id job.ID) error {
	listed, err := f.ledger.Outputs(ctx, id)
	if err == nil && len(listed) > 0 {
		err = api.Fail(http.StatusConflict, "The list of the job's outputs is stored already; nothing is added to them.")
	}
	return err
}

// isClash reports whether a bucket that is a directory refused a name since a part of it is a file's, or since it is a
// folder's.
func isClash(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EEXIST)
}
