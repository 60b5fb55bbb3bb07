package templates

import (
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/trigger"
)

// start starts a job from a template.
func (f *Function) start(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	index, err := f.accept(w, r, p.ByName("name"))
	if err != nil {
		return err
	}
	f.admission.Answer(w, r, index)
	return nil
}

func (f *Function) accept(w http.ResponseWriter, r *http.Request, name string) (*job.Index, error) {
	v, err := f.owned(r, name)
	if err != nil {
		return nil, err
	}
	caller, err := access.Require(r.Context(), access.User)
	if err != nil {
		return nil, err
	}
	// An admin's keys are not those of the owner, to whom the job belongs.
	keyHash, err := admission.Key(r, ledger.TemplateKeys, caller.Owner)
	if err != nil {
		return nil, err
	}
	tx, err := f.admission.Receive(w, r)
	if err != nil {
		return nil, err
	}
	defer tx.Abort(r.Context())
	overrides, err := f.admission.Forms.ReadOverrides(r, tx.Put)
	if err != nil {
		return nil, err
	}
	// Not a fingerprint of the template: a request that is sent again after the template was replaced
	// still gets the job that it got first.
	print, err := admission.Digest([]any{v.Name, v.Owner, overrides})
	if err != nil {
		return nil, err
	}
	return tx.FromTemplate(r.Context(), v, admission.Start{
		Draft: admission.Draft{Stdin: overrides.Stdin, KeyHash: keyHash, Fingerprint: print, Trace: admission.Trace(r),
			Secrets: overrides.Secrets.As(caller.Role)},
		Change: func(spec job.Spec) (job.Spec, error) {
			spec = overrides.Apply(spec)
			var err error
			spec.Args, err = trigger.Resolve(r.Context(), spec.Args, nil)
			return spec, err
		},
	})
}
