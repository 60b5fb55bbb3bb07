// Package artifacts is what the agent in a job's pod speaks to: it hands out the uploaded files, and takes the
// results and the records of the run.
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
	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// Settings are artifacts' own.
type Settings struct {
	// MaxOutput bounds a single output.
	MaxOutput platform.Size `env:"MAX_OUTPUT_BYTES" envDefault:"4Gi"`
	// UploadTimeout bounds one upload: after twice that the reaper takes what is stored of it for a dead one's.
	UploadTimeout time.Duration `env:"UPLOAD_TIMEOUT" envDefault:"1h"`
}

// Check finds settings with which nothing could be uploaded.
func (s *Settings) Check() error { return platform.CheckDurations(platform.Upload(s.UploadTimeout)) }

// Function answers GET, HEAD /artifacts/:id/*filename and PUT /artifacts/:id/upload/*filename.
type Function struct {
	store    *store.Store
	files    *download.Source
	ledger   *ledger.Ledger
	ender    *ending.Ender
	keys     api.Verifier
	settings Settings
	links    time.Duration // how long URLs for uploads are valid; 0: there are none
	now      func() time.Time
	log      *slog.Logger
}

// New returns the function. The clock now is time.Now outside tests.
func New(s *store.Store, l *ledger.Ledger, keys api.Verifier, settings Settings, now func() time.Time, log *slog.Logger) *Function {
	return &Function{
		store: s, files: download.From(s), ledger: l, ender: &ending.Ender{Ledger: l, Store: s, Now: now},
		keys: keys, settings: settings, now: now, log: log,
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
	f := New(s, l, keys, settings, env.Now, env.Log)
	f.Linking(common.SignedURLs)
	return f, nil
}

// Linking has files and outputs move between their clients and the bucket by URLs of it that are valid for ttl, where the bucket has such.
func (f *Function) Linking(ttl time.Duration) {
	f.links = ttl
	f.files.Linking(f.store, ttl, f.log)
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.GetArtifact, f.get)
	r.Handle(routes.HeadArtifact, f.get)
	r.Handle(routes.UploadOutput, f.put)
}

// get answers with an uploaded file, or for index.json with what the user asked for. Its agent also gets the log of earlier attempts, which the
// next one continues: where it ended as status.json, and its bytes as results?stream=stdout and results?stream=stderr. A job that is being
// removed is gone for its user, but may still be ending, and its agent then needs all of this.
func (f *Function) get(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	find, agent := f.ledger.Live, false
	id, err := api.Authorize(r, p, f.keys, token.User)
	if errors.Is(err, job.ErrForbidden) {
		find, agent = f.ledger.Index, true
		id, err = api.Authorize(r, p, f.keys, token.Agent)
	}
	if err != nil {
		return err
	}
	name := download.Name(p.ByName("filename"))
	if agent && name == job.ResultsDir {
		return f.logSoFar(w, r, id)
	}
	if err := download.CheckQuery(r); err != nil {
		return err
	}
	index, err := find(r.Context(), id)
	if err != nil {
		return err
	}
	if agent && name == job.StatusFile {
		return f.logState(w, r, id)
	}
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
