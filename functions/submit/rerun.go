package submit

import (
	"context"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// rerun accepts a job that has the files of another one. The form in the request changes the rest.
func (f *Function) rerun(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	index, err := f.acceptAgain(w, r, p.ByName("id"))
	if err != nil {
		return err
	}
	f.admission.Answer(w, r, index)
	return nil
}

func (f *Function) acceptAgain(w http.ResponseWriter, r *http.Request, text string) (*job.Index, error) {
	caller, err := access.Require(r.Context(), access.User)
	if err != nil {
		return nil, err
	}
	id, err := job.ParseID(text)
	if err != nil {
		return nil, err
	}
	from, err := f.records.Live(r.Context(), id)
	if err != nil {
		return nil, err
	}
	// An admin's keys are not those of the owner, to whom the job belongs.
	keyHash, err := admission.Key(r, ledger.RerunKeys, caller.Owner, string(id))
	if err != nil {
		return nil, err
	}
	tx, err := f.admission.Receive(w, r)
	if err != nil {
		return nil, err
	}
	defer tx.Abort(r.Context())
	whole := r.WithContext(context.WithoutCancel(r.Context()))
	sent, err := f.admission.Forms.ReadChanges(whole, admission.Rerunnable(from), tx.Put)
	if sent == nil {
		return nil, err
	}
	role := caller.Role
	if from.Owner != caller.Owner {
		role = access.User // an admin does not lend the owner the admin's own rights
	}
	return tx.Rerun(r.Context(), from, admission.Draft{
		Spec: sent.Spec, Stdin: sent.Stdin, Secrets: sent.Secrets.As(role), Faults: err,
		KeyHash: keyHash, Trace: admission.Trace(r),
	})
}
