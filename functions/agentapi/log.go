package agentapi

import (
	"context"
	"io"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/upload"
)

// acceptSegment takes the segment of that name.
func (f *Function) acceptSegment(name string) upload.Store {
	return func(ctx context.Context, u upload.Upload) (any, error) {
		return nil, logstore.Accept(ctx, f.Store, u.Index.JobID, name, u.Body)
	}
}

// order takes the order of the whole log. It may come again, until the list of outputs is stored.
func (f *Function) order(ctx context.Context, u upload.Upload) (any, error) {
	id := u.Index.JobID
	if err := f.Uploads.CheckOutputs(ctx, id); err != nil {
		return nil, err
	}
	if err := logstore.PutOrder(ctx, f.Store, id, u.Body); err != nil {
		return nil, err
	}
	return nil, f.Uploads.CheckRemoved(ctx, id, ledger.OrderKey(id))
}

// logState answers with where shipping the log of a job that is not over has got to: the next
// attempt goes on from there.
func (f *Function) logState(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := f.read(r, p)
	if err != nil {
		return err
	}
	if _, err := f.Ledger.Index(r.Context(), id); err != nil {
		return err
	}
	state, err := logstore.State(r.Context(), f.Store, id)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, state)
	return nil
}

// read returns the job that a request without parameters reads something of.
func (f *Function) read(r *http.Request, p httprouter.Params) (job.ID, error) {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return "", err
	}
	return id, download.CheckQuery(r)
}

// logStream answers with all of one stream that was shipped of a job that is not over.
func (f *Function) logStream(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := f.read(r, p)
	if err != nil {
		return err
	}
	stream, err := spool.ParseStream(p.ByName("stream"))
	if err != nil {
		return api.BadRequest("stream", "must be stdout or stderr")
	}
	return f.logSoFar(w, r, id, []spool.Stream{stream}, func(w io.Writer) logstore.Sink { return logstore.Text{W: w} })
}

// logOrder answers with the order of both streams, as far as they were shipped.
func (f *Function) logOrder(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := f.read(r, p)
	if err != nil {
		return err
	}
	both := []spool.Stream{spool.Stdout, spool.Stderr}
	return f.logSoFar(w, r, id, both, func(w io.Writer) logstore.Sink { return logstore.Order{W: w} })
}

func (f *Function) logSoFar(
	w http.ResponseWriter, r *http.Request, id job.ID, of []spool.Stream, to func(io.Writer) logstore.Sink,
) error {
	ctx := r.Context()
	if _, err := f.Ledger.Index(ctx, id); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff") // it is what a program wrote
	reader := logstore.Reader{Store: f.Store, Records: f.Ledger}
	return api.Stream(w, r, f.Log.With("job", id), func(w io.Writer) error {
		_, err := reader.Copy(ctx, id, logstore.Query{Streams: of, Tail: logstore.All}, nil, to(w))
		return err
	})
}

var _ logstore.Records = (*ledger.Ledger)(nil)
