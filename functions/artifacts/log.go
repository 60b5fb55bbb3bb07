package artifacts

import (
	"io"
	"net/http"
	"net/url"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
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
	sink, err := sinkOf(r.URL.RawQuery)
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
	_, err = reader.Copy(ctx, id, sink.query, nil, sink.to(out))
	if err == nil || out.n == 0 {
		return err
	}
	f.log.ErrorContext(ctx, "log cut off", "job", id, "error", err)
	panic(http.ErrAbortHandler) // a part must not look like the whole
}

// part is what of the log is asked for.
type part struct {
	query logstore.Query
	to    func(io.Writer) logstore.Sink
}

func sinkOf(query string) (part, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return part{}, api.BadRequest("query", "is not a valid query string")
	}
	if len(values) != 1 || len(values["stream"]) != 1 {
		return part{}, api.BadRequest("stream", "is required, once, and is the only parameter of this call")
	}
	if values.Get("stream") == "order" {
		every := logstore.Query{Streams: []spool.Stream{spool.Stdout, spool.Stderr}, Tail: logstore.All}
		return part{every, func(w io.Writer) logstore.Sink { return logstore.Order{W: w} }}, nil
	}
	stream, err := spool.ParseStream(values.Get("stream"))
	if err != nil {
		return part{}, api.BadRequest("stream", "must be stdout, stderr or order")
	}
	one := logstore.Query{Streams: []spool.Stream{stream}, Tail: logstore.All}
	return part{one, func(w io.Writer) logstore.Sink { return logstore.Text{W: w} }}, nil
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
