// Package agentapi is what the agent in a job's pod tells the orchestrator and asks it, beside the
// files: it claims attempts, ships the log, records the list of outputs and how attempts ended.
// Only the agent's token opens it.
package agentapi

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/upload"
)

// Settings and Deps are those of all functions that take uploads.
type (
	Settings = upload.Settings
	Deps     = upload.Deps
)

// Function answers what is below /agent/v1/jobs/:id. Where the bucket has URLs for uploads, outputs
// are sent to the bucket itself.
type Function struct {
	*upload.Base
	recorder *ending.Recorder
	packages *packages
}

// New returns the function.
func New(d Deps) (*Function, error) {
	b, err := upload.Open(d)
	if err != nil {
		return nil, err
	}
	packages, err := openPackages(d, b)
	if err != nil {
		return nil, err
	}
	return &Function{b, &ending.Recorder{Ledger: b.Ledger, Store: b.Store, Now: b.Now}, packages}, nil
}

// The bounds of records: a manifest has ten thousand files with long names.
const (
	maxRecord   = 1 << 20
	maxManifest = 16 << 20
	maxOrder    = spool.MaxRecords * spool.RecordSize
)

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.ClaimAttempt, f.receive(maxRecord, f.claimNext))
	r.Handle(routes.EndAttempt, f.receiveForAttempt(maxRecord, f.end))
	r.Handle(routes.ReportAttempt, f.receiveForAttempt(maxManifest, f.report))
	r.Handle(routes.RecordOutputs, f.receive(maxManifest, f.outputs))
	r.Handle(routes.LinkOutput, f.receive(maxRecord, f.link))
	r.Handle(routes.GetSecrets, f.secrets)
	r.Handle(routes.GetLogState, f.logState)
	r.Handle(routes.PutLogSegment, f.segment)
	r.Handle(routes.GetLogStream, f.logStream)
	r.Handle(routes.GetLogOrder, f.logOrder)
	r.Handle(routes.PutLogOrder, f.receive(maxOrder, f.order))
	f.packages.mount(f, r)
	r.Rewrite(f.former)
}

// receive returns a handler for what is sent for a job. Everything may be sent again, since its answer
// may have been lost.
func (f *Function) receive(limit int64, to upload.Store) api.Handler {
	return func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		id, err := job.ParseID(p.ByName("id"))
		if err != nil {
			return err
		}
		return f.Uploads.Receive(w, r, id, limit, to)
	}
}

// receiveForAttempt returns a handler for what is sent for the attempt that the path names.
func (f *Function) receiveForAttempt(limit int64, to func(number int) upload.Store) api.Handler {
	return func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		id, err := job.ParseID(p.ByName("id"))
		if err != nil {
			return err
		}
		number, err := attemptNumber(p.ByName("number"))
		if err != nil {
			return err
		}
		return f.Uploads.Receive(w, r, id, limit, to(number))
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
	return f.receive(joblog.MaxSegment, f.acceptSegment(p.ByName("segment")))(w, r, p)
}
