// Package artifacts hands out the files that a job was submitted with, to its user and its agent,
// and takes the outputs that the agent stores. The agent's records are agentapi's.
package artifacts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/event"
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

// New returns the function.
func New(s *store.Store, l *ledger.Ledger, keys api.Verifier, settings Settings, log *slog.Logger) *Function {
	return &Function{
		store: s, files: download.From(s), ledger: l, uploads: &upload.Receiver{Store: s, Ledger: l, Timeout: settings.UploadTimeout},
		keys: keys, maxOutput: int64(settings.MaxOutput), log: log,
	}
}

// Open returns the function with what env has.
func Open(_ context.Context, env *platform.Env) (*Function, error) {
	var settings Settings
	loadErr := env.Load(&settings)
	s, storeErr := env.Store()
	l, ledgerErr := event.OpenLedger(env)
	keys, err := env.Keys()
	common, commonErr := env.Common()
	if err := errors.Join(loadErr, storeErr, ledgerErr, err, commonErr); err != nil {
		return nil, err
	}
	f := New(s, l, keys, settings, env.Log)
	f.Linking(common.SignedURLs)
	return f, nil
}

// Linking has files be read from the bucket itself, by URLs of it that are valid for ttl, where the
// bucket has such.
func (f *Function) Linking(ttl time.Duration) { f.files.Linking(f.store, ttl, f.log) }

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
