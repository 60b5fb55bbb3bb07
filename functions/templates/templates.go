// Package templates keeps templates for their owners, and starts jobs from them.
package templates

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/template"
)

// Deps is what templates works with.
type Deps struct {
	Env       *platform.Env
	Admission *admission.Controller
}

// Function answers the calls of templates.
type Function struct {
	admission *admission.Controller
	templates *template.Store
	now       func() time.Time
	random    io.Reader
	log       *slog.Logger
}

// New returns the function.
func New(d Deps) (*Function, error) {
	bucket, err := d.Env.Store()
	if err != nil {
		return nil, err
	}
	return &Function{
		admission: d.Admission, templates: template.NewStore(bucket, d.Env.Now),
		now: d.Env.Now, random: d.Env.Random, log: d.Env.Log,
	}, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.ListTemplates, f.list)
	r.Handle(routes.GetTemplate, f.show)
	r.Handle(routes.PutTemplate, api.Receive(f.log, f.put))
	r.Handle(routes.DeleteTemplate, f.remove)
	r.Handle(routes.StartTemplate, api.Receive(f.log, f.start))
}

// owned returns a template of the caller. Somebody else's looks like one that does not exist.
func (f *Function) owned(r *http.Request, name string) (*template.Version, error) {
	caller, err := access.Require(r.Context(), access.Read)
	if err != nil {
		return nil, err
	}
	if template.CheckName(name) != "" { // the storage may not even be able to look for it
		return nil, template.Unknown(name)
	}
	v, err := f.templates.Current(r.Context(), name)
	if err == nil && !caller.Sees(v.Owner) {
		return nil, access.Foreign(template.Unknown(name))
	}
	return v, err
}

func (f *Function) show(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	v, err := f.owned(r, p.ByName("name"))
	if err != nil {
		return err
	}
	shown := v.Template
	shown.Secrets = secret.References(v.Secrets).As("").Records() // roles are for us
	api.WriteJSON(w, http.StatusOK, shown)
	return nil
}

func (f *Function) remove(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
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
	Owner     string    `json:"owner"`
	Runtime   string    `json:"runtime"`
	CreatedAt time.Time `json:"createdAt"`
}

func (f *Function) list(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if q.Owner, err = access.Listed(r.Context(), q.Owner); err != nil {
		return err
	}
	found, next, err := f.templates.List(r.Context(), q)
	if err != nil {
		return err
	}
	page := struct {
		Items         []listed `json:"items"`
		NextPageToken string   `json:"nextPageToken,omitempty"`
	}{Items: make([]listed, len(found)), NextPageToken: next}
	for i, v := range found {
		page.Items[i] = listed{Name: v.Name, Version: v.Version, Owner: v.Owner, Runtime: v.Runtime, CreatedAt: v.CreatedAt}
	}
	api.WriteJSON(w, http.StatusOK, page)
	return nil
}

// parseQuery reads limit, pageToken and owner.
func parseQuery(raw string) (template.Query, error) {
	parameters := api.Query{
		Names: []string{"limit", "pageToken", "owner"},
		Others: map[string]string{
			"page": "pageToken", "user": "owner", "caller": "owner", "createdby": "owner",
		},
	}
	q := template.Query{Limit: defaultTemplates}
	err := parameters.Each(raw, func(name, value string) (err error) {
		switch name {
		case "limit":
			q.Limit, err = api.Number(name, value, 1, maxTemplates)
			return err
		case "pageToken":
			if template.CheckName(value) != "" {
				return api.BadRequest(name, "must be the nextPageToken of an earlier answer")
			}
			q.After = value
		case "owner":
			if message := access.CheckOwner(value); message != "" {
				return api.BadRequest(name, message)
			}
			q.Owner = value
		}
		return nil
	})
	return q, err
}
