// Package submit accepts jobs that users send as forms.
package submit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// Records are what is known of jobs.
type Records interface {
	Live(ctx context.Context, id job.ID) (*job.Index, error)
}

// Deps is what submit works with.
type Deps struct {
	Env       *platform.Env
	Admission *admission.Controller
}

// Function answers POST /api/v1/jobs, POST /api/v1/jobs/:id/rerun, GET /api/v1/jobs/:id/token and
// POST /api/v1/jobs/:id/share.
type Function struct {
	admission *admission.Controller
	records   Records
	keys      token.Keys
	now       func() time.Time
	log       *slog.Logger
}

// New returns the function.
func New(d Deps) (*Function, error) {
	keys, err := d.Env.Keys()
	records, ledgerErr := d.Env.Ledger()
	if err := errors.Join(err, ledgerErr); err != nil {
		return nil, err
	}
	return &Function{admission: d.Admission, records: records, keys: keys, now: d.Env.Now, log: d.Env.Log}, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.SubmitJob, api.Receive(f.log, f.submit))
	r.Handle(routes.GetJobToken, f.jobToken)
	r.Handle(routes.RerunJob, api.Receive(f.log, f.rerun))
	r.Handle(routes.ShareJob, f.share)
}

func (f *Function) submit(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	index, err := f.accept(w, r)
	if err != nil {
		return err
	}
	f.admission.Answer(w, r, index)
	return nil
}

// accept makes a job of the form in the request.
func (f *Function) accept(w http.ResponseWriter, r *http.Request) (*job.Index, error) {
	caller, err := access.Require(r.Context(), access.User)
	if err != nil {
		return nil, err
	}
	keyHash, err := admission.Key(r, ledger.FormKeys, caller.Owner)
	if err != nil {
		return nil, err
	}
	tx, err := f.admission.Receive(w, r)
	if err != nil {
		return nil, err
	}
	defer tx.Abort(r.Context())
	// Reading fails when the client goes away. One that has only closed its half of the connection
	// still gets its job.
	whole := r.WithContext(context.WithoutCancel(r.Context()))
	sent, err := f.admission.Forms.Read(whole, f.admission.Defaults(), tx.Put)
	if sent == nil {
		return nil, err
	}
	return tx.Commit(r.Context(), admission.Draft{
		Spec: sent.Spec, Files: sent.Files, Stdin: sent.Stdin, Secrets: sent.Secrets.As(caller.Role), Tree: sent.Tree,
		Faults: err, KeyHash: keyHash,
		Owner: caller.Owner, Trace: admission.Trace(r),
	})
}

// jobToken gives the token of a job to its owner, who may have lost it, or never have seen it: a
// job that an event started has no answer with a token.
func (f *Function) jobToken(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := f.live(r, p)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, struct {
		JobID job.ID `json:"jobID"`
		Token string `json:"token"`
	}{id, f.keys.Derive(token.User, id)})
	return nil
}
