package templates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/trigger"
)

// saved is the answer to PUT of a template.
type saved struct {
	Name      string    `json:"name"`
	Version   int       `json:"version"`
	Owner     string    `json:"owner"`
	CreatedAt time.Time `json:"createdAt"`
	// Inferred is what was not sent, but followed from the files.
	Inferred *job.Inferred `json:"inferred,omitempty"`
}

func (f *Function) put(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	v, created, err := f.save(w, r, p.ByName("name"))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", "/api/v1/templates/"+v.Name)
	}
	api.WriteJSON(w, status, saved{Name: v.Name, Version: v.Version, Owner: v.Owner, CreatedAt: v.CreatedAt,
		Inferred: v.Inferred})
	return nil
}

// save stores a version. After an error nothing of it is left.
func (f *Function) save(
	w http.ResponseWriter, r *http.Request, name string,
) (v *template.Version, created bool, err error) {
	if message := template.CheckName(name); message != "" {
		return nil, false, job.Invalid("name", message)
	}
	caller, err := access.Require(r.Context(), access.User)
	if err != nil {
		return nil, false, err
	}
	keyHash, err := admission.Key(r, ledger.VersionKeys, caller.Owner, name)
	if err != nil {
		return nil, false, err
	}
	current, err := f.replaced(r.Context(), name, caller)
	if err != nil {
		return nil, false, err
	}
	if err := f.admission.CheckFree(r.ContentLength); err != nil {
		return nil, false, err
	}
	f.admission.LimitReading(w)
	id, err := job.NewID(f.now(), f.random)
	if err != nil {
		return nil, false, err
	}
	kept := false
	defer func() { // also after a panic
		if !kept {
			f.abort(r.Context(), name, id)
		}
	}()
	ctx := context.WithoutCancel(r.Context())
	role := caller.Role
	if current != nil && current.Owner != caller.Owner {
		role = access.User // an admin does not lend the owner the admin's own rights
	}
	draft, err := f.read(ctx, r, name, id, role)
	if err != nil {
		return nil, false, err
	}
	draft.Owner, draft.IdempotencyKey = caller.Owner, keyHash
	if current != nil { // an admin who replaces it does not take it away
		draft.Owner = current.Owner
	}
	if current != nil && keyHash != "" && keyHash == current.IdempotencyKey {
		if draft.Fingerprint == current.Fingerprint {
			return current, true, nil // sent again
		}
		return nil, false, job.Invalid("Idempotency-Key", "was used for another version of this template; use a new key")
	}
	v, err = f.templates.Save(ctx, *draft)
	if errors.Is(err, job.ErrExists) {
		return nil, false, taken()
	}
	if err != nil {
		return nil, false, err
	}
	kept = true
	return v, v.Version == 1, nil
}

// replaced returns the version that the one to come replaces, and nil for the first one. Names are
// the same for all callers, so that events can name templates.
func (f *Function) replaced(ctx context.Context, name string, caller access.Caller) (*template.Version, error) {
	current, err := f.templates.Current(ctx, name)
	switch {
	case errors.Is(err, job.ErrNotFound):
		return nil, nil //nolint:nilnil // the first version
	case err != nil:
		return nil, err
	case !caller.Sees(current.Owner):
		return nil, taken()
	}
	return current, nil
}

// taken is the error for the name of somebody else's template.
func taken() error {
	return job.Refuse(job.ErrExists, "name", "is that of a template of another owner; choose another name")
}

// read reads a version from its form. The operator's secrets in it are named in the role.
func (f *Function) read(
	ctx context.Context, r *http.Request, name string, id job.ID, role access.Role,
) (*template.Draft, error) {
	if err := f.templates.Begin(ctx, name, id); err != nil {
		return nil, err
	}
	sent, err := f.admission.Forms.Read(r.WithContext(ctx), f.admission.Defaults(),
		func(ctx context.Context, file string, content io.Reader) (job.File, error) {
			return f.admission.Put(ctx, template.FileKey(name, id, file), file, content)
		}, eventTypes, eventSources)
	if sent == nil {
		return nil, err
	}
	inferred, err := f.admission.Complete(ctx, admission.Project{Spec: &sent.Spec, Files: sent.Files, Tree: sent.Tree,
		Key: func(file string) string { return template.FileKey(name, id, file) }}, err)
	secrets := sent.Secrets.As(role)
	err = f.admission.CheckSecrets(ctx, &sent.Spec, secrets, err)
	err = f.admission.Check(ctx, &sent.Spec, sent.Files, sent.Tree, err)
	more := &job.Faults{Kind: job.ErrInvalid, List: trigger.CheckArgs(sent.Spec.Args)}
	more.List = append(more.List, secrets.OwnFaults(noOwnSecrets)...)
	more.List = append(more.List, checkNames(sent)...)
	starts, faults := readEvents(sent.More)
	more.List = append(more.List, faults...)
	if len(sent.Spec.Labels) >= job.MaxLabels {
		more.List = append(more.List, job.Fault{Field: "labels", Message: fmt.Sprintf(
			"has %d labels; a template can have %d, since its jobs get one more", len(sent.Spec.Labels), job.MaxLabels-1)})
	}
	if len(more.List) > 0 {
		if failed := more.Prepend(err); failed != nil {
			return nil, failed
		}
		return nil, more
	}
	if err != nil {
		return nil, err
	}
	fingerprint, err := fingerprint(sent, starts)
	if err == nil && len(secrets) > 0 { // references only
		fingerprint, err = admission.Digest([]any{fingerprint, secrets.Records()})
	}
	if err != nil {
		return nil, err
	}
	t := template.Template{Name: name, CreatedAt: f.now().UTC(), Events: starts, Spec: sent.Spec, Files: sent.Files,
		Stdin: sent.Stdin, Inferred: inferred, Secrets: secrets.Records()}
	return &template.Draft{Template: t, Folder: id, Fingerprint: fingerprint}, nil
}

// maxNameFaults is how many names a refusal lists.
const maxNameFaults = 5

// checkNames returns the faults of names of files that events add themselves.
func checkNames(sent *form.Job) (faults []job.Fault) {
	field := "files"
	for _, file := range sent.Files {
		if file.Archive != "" { // what is in it may as well be at fault
			field = "archive"
		}
	}
	for _, name := range sent.Tree.Names() {
		if message := trigger.CheckFileName(name); message != "" && len(faults) < maxNameFaults {
			faults = append(faults, job.Fault{Field: field, Message: message})
		}
	}
	return faults
}

// noOwnSecrets is why a template has references to secrets only.
const noOwnSecrets = "a template keeps no values of secrets: name one of the operator's, such as @db, or send the " +
	"value when you start a job from the template"

func (f *Function) abort(ctx context.Context, name string, id job.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), admission.AbortTimeout)
	defer cancel()
	if err := f.templates.Abort(ctx, name, id); err != nil {
		f.log.WarnContext(ctx, "files of a refused template not removed; the reaper will", "template", name, "error", err)
	}
}
