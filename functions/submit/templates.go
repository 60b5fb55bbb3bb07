package submit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/trigger"
)

// saved is the answer to PUT of a template. The token is its owner's.
type saved struct {
	Name      string    `json:"name"`
	Version   int       `json:"version"`
	Owner     job.ID    `json:"owner"`
	Token     string    `json:"token"`
	CreatedAt time.Time `json:"createdAt"`
}

func (f *Function) putTemplate(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	body := &watched{ReadCloser: r.Body}
	r.Body = body
	v, created, err := f.saveTemplate(w, r, p.ByName("name"))
	if err != nil {
		refuse(w, r, body, f.Env.Log, err)
		return nil
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", "/api/v1/templates/"+v.Name)
	}
	api.WriteJSON(w, status, saved{
		Name: v.Name, Version: v.Version, Owner: v.Owner, Token: f.keys.Owner(v.Owner), CreatedAt: v.CreatedAt,
	})
	return nil
}

// saveTemplate stores a version. After an error nothing of it is left.
func (f *Function) saveTemplate(
	w http.ResponseWriter, r *http.Request, name string,
) (v *template.Version, created bool, err error) {
	if message := template.CheckName(name); message != "" {
		return nil, false, job.Invalid("name", message)
	}
	owner, err := f.claimedOwner(r)
	if err != nil {
		return nil, false, err
	}
	keyHash, err := idempotencyKey(r, ledger.VersionKeys, name, string(owner))
	if err != nil {
		return nil, false, err
	}
	owner, current, err := f.mayReplace(r, name, owner, keyHash)
	if err != nil {
		return nil, false, err
	}
	if err := f.checkFree(max(r.ContentLength, 0)); err != nil && r.ContentLength <= int64(f.settings.MaxUpload) {
		return nil, false, err
	}
	f.limitReading(w)
	id, err := job.NewID(f.Env.Now(), f.Env.Random)
	if err != nil {
		return nil, false, err
	}
	if owner == "" {
		owner = id
	}
	kept := false
	defer func() { // also after a panic
		if !kept {
			f.abortTemplate(r.Context(), name, id)
		}
	}()
	ctx := context.WithoutCancel(r.Context())
	draft, err := f.readTemplate(ctx, r, name, id)
	if err != nil {
		return nil, false, err
	}
	draft.Owner, draft.IdempotencyKey = owner, keyHash
	if current != nil && keyHash != "" && keyHash == current.IdempotencyKey {
		if draft.Fingerprint == current.Fingerprint {
			return current, true, nil // sent again
		}
		return nil, false, job.Invalid("Idempotency-Key", "was used for another version of this template; use a new key, "+
			"and the owner's token")
	}
	v, err = f.templates.Save(ctx, *draft)
	if errors.Is(err, job.ErrExists) {
		return nil, false, job.Refuse(job.ErrExists, "name", "is by now that of a template of another owner; choose another")
	}
	if err != nil {
		return nil, false, err
	}
	kept = true
	return v, v.Version == 1, nil
}

// claimedOwner returns the owner whose token the request carries, and none for a request without
// any token.
func (f *Function) claimedOwner(r *http.Request) (job.ID, error) {
	if len(r.Header.Values("Authorization")) == 0 {
		return "", nil
	}
	return api.AuthorizeOwner(r, f.keys)
}

// mayReplace returns the owner of the version to come, empty for a new one, and the current version
// if there is one. Whoever may submit may make a template; only who has its token may replace it,
// or who sends the request again that made it: a version that was made with a token is no such,
// since its token was not given to whoever sends the key alone.
func (f *Function) mayReplace(
	r *http.Request, name string, owner job.ID, keyHash string,
) (job.ID, *template.Version, error) {
	anonymous := owner == ""
	current, findErr := f.templates.Current(r.Context(), name)
	switch {
	case errors.Is(findErr, job.ErrNotFound):
		return owner, nil, nil
	case findErr != nil:
		return "", nil, findErr
	case anonymous && keyHash != "" && keyHash == current.IdempotencyKey &&
		f.Env.Now().Sub(current.CreatedAt) < ledger.KeyLifetime:
		return current.Owner, current, nil
	case anonymous:
		return "", nil, job.Refuse(job.ErrUnauthorized, "", fmt.Sprintf("there is a template %q; to replace it send its "+
			"owner's token: Authorization: Bearer <token>", name))
	case owner != current.Owner:
		return "", nil, api.NotOwner()
	}
	return owner, current, nil
}

// readTemplate reads a version from its form.
func (f *Function) readTemplate(ctx context.Context, r *http.Request, name string, id job.ID) (*template.Draft, error) {
	if err := f.templates.Begin(ctx, name, id); err != nil {
		return nil, err
	}
	sent, err := f.forms.Read(r.WithContext(ctx), f.defaults(),
		f.saverTo(func(file string) string { return template.FileKey(name, id, file) }))
	if sent == nil {
		return nil, err
	}
	err = f.check(sent, err)
	more := &job.Faults{Kind: job.ErrInvalid, List: trigger.CheckArgs(sent.Spec.Args)}
	for _, file := range sent.Files {
		if message := trigger.CheckFileName(file.Name); message != "" {
			more.List = append(more.List, job.Fault{Field: "files", Message: message})
		}
	}
	if len(sent.Spec.Labels) >= job.MaxLabels {
		more.List = append(more.List, job.Fault{Field: "labels", Message: fmt.Sprintf(
			"has %d labels; a template can have %d, since its jobs get one more", len(sent.Spec.Labels), job.MaxLabels-1)})
	}
	if len(more.List) > 0 {
		if failed := add(more, err); failed != nil {
			return nil, failed
		}
		return nil, more
	}
	if err != nil {
		return nil, err
	}
	fingerprint, err := fingerprint(&job.Index{Spec: sent.Spec, Files: sent.Files})
	if err != nil {
		return nil, err
	}
	t := template.Template{Name: name, CreatedAt: f.Env.Now().UTC(), Spec: sent.Spec, Files: sent.Files}
	return &template.Draft{Template: t, Folder: id, Fingerprint: fingerprint}, nil
}

func (f *Function) abortTemplate(ctx context.Context, name string, id job.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := f.templates.Abort(ctx, name, id); err != nil {
		f.Env.Log.Warn("files of a refused template not removed; the reaper will", "template", name, "error", err)
	}
}

// owned returns a template that the request has the token for.
func (f *Function) owned(r *http.Request, name string) (*template.Version, error) {
	owner, err := api.AuthorizeOwner(r, f.keys)
	if err != nil {
		return nil, err
	}
	if template.CheckName(name) != "" { // the storage may not even be able to look for it
		return nil, job.Refuse(job.ErrNotFound, "template", fmt.Sprintf("there is no template %.100q", name))
	}
	v, err := f.templates.Current(r.Context(), name)
	if err == nil && v.Owner != owner {
		return nil, api.NotOwner()
	}
	return v, err
}

func (f *Function) showTemplate(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	v, err := f.owned(r, p.ByName("name"))
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, v.Template)
	return nil
}

func (f *Function) deleteTemplate(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	v, err := f.owned(r, p.ByName("name"))
	if err != nil {
		return err
	}
	if err := f.templates.Delete(context.WithoutCancel(r.Context()), v); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// The bounds of a page of templates.
const (
	defaultTemplates = 50
	maxTemplates     = 100
)

// listed is what lists show of a template: no arguments, no files, no variables.
type listed struct {
	Name      string    `json:"name"`
	Version   int       `json:"version"`
	Runtime   string    `json:"runtime"`
	CreatedAt time.Time `json:"createdAt"`
}

func (f *Function) listTemplates(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	query := api.Query{Names: []string{"limit", "pageToken"}, Others: map[string]string{"page": "pageToken"}}
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		return err
	}
	limit := defaultTemplates
	if text, sent := values["limit"]; sent {
		if limit, err = api.Number("limit", text, 1, maxTemplates); err != nil {
			return err
		}
	}
	after, sent := values["pageToken"]
	if sent && template.CheckName(after) != "" {
		return api.BadRequest("pageToken", "must be the nextPageToken of an earlier answer")
	}
	found, more, err := f.templates.List(r.Context(), after, limit)
	if err != nil {
		return err
	}
	page := struct {
		Items         []listed `json:"items"`
		NextPageToken string   `json:"nextPageToken,omitempty"`
	}{Items: make([]listed, len(found))}
	for i, v := range found {
		page.Items[i] = listed{Name: v.Name, Version: v.Version, Runtime: v.Runtime, CreatedAt: v.CreatedAt}
	}
	if more {
		page.NextPageToken = found[len(found)-1].Name
	}
	api.WriteJSON(w, http.StatusOK, page)
	return nil
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
	index, err := f.Events.Ledger.Live(r.Context(), id)
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
