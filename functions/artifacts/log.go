package artifacts

import (
	"net/http"
	"net/url"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
)

// logState answers with where shipping the log of a job that is not over has got to.
func (f *Function) logState(w http.ResponseWriter, r *http.Request, id job.ID) error {
	state, err := logstore.State(r.Context(), f.store, id)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, state)
	return nil
}

// logSoFar answers with all of one stream that was shipped of a job that is not over.
func (f *Function) logSoFar(w http.ResponseWriter, r *http.Request, id job.ID) error {
	ctx := r.Context()
	stream, err := streamOf(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if _, err := f.ledger.Index(ctx, id); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff") // it is what a program wrote
	if r.Method == http.MethodHead {
		return nil
	}
	reader := logstore.Reader{Store: f.store, Records: f.ledger}
	out := &counter{w: w}
	_, err = reader.Copy(ctx, id, logstore.Query{Streams: []joblog.Stream{stream}, Tail: logstore.All}, nil, out)
	if err == nil || out.n == 0 {
		return err
	}
	f.log.ErrorContext(ctx, "log cut off", "job", id, "error", err)
	panic(http.ErrAbortHandler) // a part must not look like the whole
}

func streamOf(query string) (joblog.Stream, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", api.BadRequest("query", "is not a valid query string")
	}
	if len(values) != 1 || len(values["stream"]) != 1 {
		return "", api.BadRequest("stream", "is required, once, and is the only parameter of this call")
	}
	stream := joblog.Stream(values.Get("stream"))
	if stream != joblog.Stdout && stream != joblog.Stderr {
		return "", api.BadRequest("stream", "must be stdout or stderr")
	}
	return stream, nil
}

// counter tells whether anything was written.
type counter struct {
	w http.ResponseWriter
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

var _ logstore.Records = (*ledger.Ledger)(nil)
