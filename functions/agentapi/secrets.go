package agentapi

import (
	"errors"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/upload"
)

// secrets answers with the values of the secrets that a job's user sent, as long as the job is not
// over. Secrets that cannot be opened will not be by another try, so that is no error of the
// server's.
func (f *Function) secrets(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := f.read(r, p)
	if err != nil {
		return err
	}
	ctx := r.Context()
	index, err := f.Ledger.Index(ctx, id)
	if err != nil {
		return err
	}
	over, err := f.Ledger.Over(ctx, id)
	if err != nil {
		return err
	}
	if over {
		return upload.ErrOver()
	}
	answer := agentwire.Secrets{Values: map[string]string{}}
	if secret.HasOwn(index.Secrets) {
		sealed, err := f.Ledger.Secrets(ctx, id)
		if err != nil && !errors.Is(err, job.ErrNotFound) {
			return err
		}
		if err == nil {
			answer.Values, err = secret.Open(sealed, f.Keys, index)
		}
		if err != nil {
			f.Log.ErrorContext(ctx, "secrets not opened; the attempt fails", "job", id, "error", err)
			return api.Fail(http.StatusUnprocessableEntity, "The secrets of the job cannot be opened, and the server's log "+
				"says why; send the job again.")
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	api.WriteJSON(w, http.StatusOK, answer)
	return nil
}
