// Package artifacts hands out the files that a job was submitted with, to its user and its agent,
// and takes the outputs that the agent stores. The agent's records are agentapi's.
package artifacts

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/upload"
)

// Settings are those of uploads.
type Settings = upload.Settings

// Function answers GET, HEAD /artifacts/:id/*filename and PUT /artifacts/:id/upload/*filename.
type Function struct {
	store     *store.Store
	files     *download.Source
	ledger    *ledger.Ledger
	uploads   *upload.Receiver
	keys      api.Verifier
	maxOutput int64
	log       *slog.Logger
}

// Deps is what artifacts works with.
type Deps struct {
	Env    *platform.Env
	Ledger *ledger.Ledger // announces what it records
}

// New returns the function. Where the bucket has such, files are read from the bucket itself, by
// URLs of it.
func New(d Deps) (*Function, error) {
	var settings Settings
	loadErr := d.Env.Load(&settings)
	s, storeErr := d.Env.Store()
	keys, err := d.Env.Keys()
	common, commonErr := d.Env.Common()
	if err := errors.Join(loadErr, storeErr, err, commonErr); err != nil {
		return nil, err
	}
	f := &Function{
		store: s, files: download.From(s), ledger: d.Ledger, keys: keys, maxOutput: int64(settings.MaxOutput), log: d.Env.Log,
		uploads: &upload.Receiver{Store: s, Ledger: d.Ledger, Timeout: settings.UploadTimeout},
	}
	f.files.Linking(s, common.SignedURLs, f.log)
	return f, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.GetArtifact, f.get)
	r.Handle(routes.HeadArtifact, f.get)
	r.Handle(routes.UploadOutput, f.put)
}

// get answers with an uploaded file, or for index.json with what the user asked for. A job that is
// being removed is gone for its user, but may still be ending, and its agent then needs both.
func (f *Function) get(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	find := f.ledger.Live
	id, err := api.Authorize(r, p, f.keys, token.User)
	if errors.Is(err, job.ErrForbidden) {
		find = f.ledger.Index
		id, err = api.Authorize(r, p, f.keys, token.Agent)
	}
	if err != nil {
		return err
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
	i := slices.IndexFunc(index.Files, func(file job.File) bool { return file.Name == name })
	if i < 0 {
		return fmt.Errorf("artifact %q: %w", name, job.ErrNotFound)
	}
	return f.files.Serve(w, r, ledger.FileKey(id, name), index.Files[i])
}
