// Package submit accepts jobs that users send as forms.
package submit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/julienschmidt/httprouter"

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

// Function answers POST /api/v1/jobs and GET /api/v1/jobs/:id/token.
type Function struct {
	admission *admission.Controller
	records   Records
	keys      token.Keys
	log       *slog.Logger
}

// New returns the function.
func New(d Deps) (*Function, error) {
	keys, err := d.Env.Keys()
	records, ledgerErr := d.Env.Ledger()
	if err := errors.Join(err, ledgerErr); err != nil {
		return nil, err
	}
	return &Function{admission: d.Admission, records: records, keys: keys, log: d.Env.Log}, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.SubmitJob, api.Receive(f.log, f.submit))
	r.Handle(routes.GetJobToken, f.jobToken)
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
	keyHash, err := admission.Key(r, ledger.FormKeys)
	if err != nil {
		return nil, err
	}
	f.admission.LimitReading(w)
	tx, err := f.admission.Begin(r.Context(), r.ContentLength)
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
		Spec: sent.Spec, Files: sent.Files, Faults: err, KeyHash: keyHash, Trace: admission.Trace(r),
	})
}

// jobToken gives the owner of a template the token of a job that was started from it, above all by
// an event, whose answer nobody has seen.
func (f *Function) jobToken(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	owner, err := api.AuthorizeOwner(r, f.keys)
	if err != nil {
		return err
	}
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return api.NotOwner()
	}
	index, err := f.records.Live(r.Context(), id)
	if errors.Is(err, job.ErrNotFound) || err == nil && index.Owner != owner { // unknown and foreign look the same
		return api.NotOwner()
	}
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, struct {
		JobID job.ID `json:"jobID"`
		Token string `json:"token"`
	}{id, f.keys.Derive(token.User, id)})
	return nil
}
