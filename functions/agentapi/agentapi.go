// Package agentapi is what the agent in a job's pod tells the orchestrator and asks it, beside the
// files: it claims attempts, ships the log, records the list of outputs and how attempts ended.
// Only the agent's token opens it.
package agentapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/upload"
)

// Settings are those of uploads.
type Settings = upload.Settings

// Function answers what is below /agent/v1/jobs/:id.
type Function struct {
	store     *store.Store
	ledger    *ledger.Ledger
	recorder  *ending.Recorder
	uploads   *upload.Receiver
	keys      api.Verifier
	maxOutput int64
	links     time.Duration // how long URLs for uploads are valid; 0: there are none
	now       func() time.Time
	log       *slog.Logger
}

// Deps is what agentapi works with.
type Deps struct {
	Env    *platform.Env
	Ledger *ledger.Ledger // announces what it records
}

// New returns the function. Where the bucket has such, outputs are sent to the bucket itself, by
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
	return &Function{
		store: s, ledger: d.Ledger, recorder: &ending.Recorder{Ledger: d.Ledger, Store: s, Now: d.Env.Now},
		uploads: &upload.Receiver{Store: s, Ledger: d.Ledger, Timeout: settings.UploadTimeout},
		keys:    keys, maxOutput: int64(settings.MaxOutput), links: common.SignedURLs, now: d.Env.Now, log: d.Env.Log,
	}, nil
}

// The bounds of records: a manifest has ten thousand files with long names.
const (
	maxRecord   = 1 << 20
	maxManifest = 16 << 20
	maxOrder    = spool.MaxRecords * spool.RecordSize
)

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.ClaimAttempt, f.take(maxRecord, f.claimNext))
	r.Handle(routes.EndAttempt, f.takeOf(maxRecord, f.end))
	r.Handle(routes.ReportAttempt, f.takeOf(maxManifest, f.report))
	r.Handle(routes.RecordOutputs, f.take(maxManifest, f.outputs))
	r.Handle(routes.LinkOutput, f.take(maxRecord, f.link))
	r.Handle(routes.GetLogState, f.logState)
	r.Handle(routes.PutLogSegment, f.segment)
	r.Handle(routes.GetLogStream, f.logStream)
	r.Handle(routes.GetLogOrder, f.logOrder)
	r.Handle(routes.PutLogOrder, f.take(maxOrder, f.order))
	r.Rewrite(f.former)
}

// take returns a handler for what is sent for a job. Everything may be sent again, since its answer
// may have been lost.
func (f *Function) take(limit int64, to upload.Store) api.Handler {
	return func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		id, err := api.Authorize(r, p, f.keys, token.Agent)
		if err != nil {
			return err
		}
		return f.uploads.Receive(w, r, id, limit, to)
	}
}

// takeOf returns a handler for what is sent for the attempt that the path names.
func (f *Function) takeOf(limit int64, to func(number int) upload.Store) api.Handler {
	return func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		id, err := api.Authorize(r, p, f.keys, token.Agent)
		if err != nil {
			return err
		}
		number, err := attemptNumber(p.ByName("number"))
		if err != nil {
			return err
		}
		return f.uploads.Receive(w, r, id, limit, to(number))
	}
}

// attemptNumber reads a number as it is written in paths, so that every attempt has one name.
func attemptNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || strconv.Itoa(n) != s || n < 1 || n > job.MaxRetries+1 {
		return 0, fmt.Errorf("attempt %q: %w", s, job.ErrNotFound)
	}
	return n, nil
}

// segment takes a segment of the log.
func (f *Function) segment(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	return f.take(joblog.MaxSegment, f.acceptSegment(p.ByName("segment")))(w, r, p)
}
