// Package artifacts hands out the files that a job was submitted with, to its user and its agent,
// and takes the outputs that the agent stores. The agent's records are agentapi's.
package artifacts

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/upload"
)

// Settings and Deps are those of all functions that take uploads.
type (
	Settings = upload.Settings
	Deps     = upload.Deps
)

// Function answers GET, HEAD /artifacts/:id/*filename and PUT /artifacts/:id/upload/*filename.
type Function struct {
	*upload.Base
	files *download.Source
}

// New returns the function. Where the bucket has URLs for downloads, clients are redirected to
// them.
func New(d Deps) (*Function, error) {
	b, err := upload.Open(d)
	if err != nil {
		return nil, err
	}
	return &Function{b, download.From(b.Store).Linking(b.Store, b.Links, b.Log)}, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.GetArtifact, f.get)
	r.Handle(routes.HeadArtifact, f.get)
	r.Handle(routes.UploadOutput, f.put)
}

// get answers with an uploaded file, which the program's standard input is as well, or for
// index.json with what the user asked for. A job that is being removed is gone for its user, but may
// still be ending, and its agent then needs both.
func (f *Function) get(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return err
	}
	find := f.Ledger.Live
	if api.HasToken(r, id, f.Keys, token.Agent) {
		find = f.Ledger.Index
	}
	if err := download.CheckQuery(r); err != nil {
		return err
	}
	index, err := find(r.Context(), id)
	if err != nil {
		return err
	}
	name := download.Name(p.ByName("filename"))
	if name == job.IndexFile {
		api.WriteJSON(w, http.StatusOK, index)
		return nil
	}
	if name == job.StdinFile && index.Stdin != nil {
		return f.files.Serve(w, r, ledger.FileKey(id, name), *index.Stdin)
	}
	i := slices.IndexFunc(index.Files, func(file job.File) bool { return file.Name == name })
	if i < 0 {
		return fmt.Errorf("artifact %q: %w", name, job.ErrNotFound)
	}
	return f.files.Serve(w, r, ledger.FileKey(id, name), index.Files[i])
}
