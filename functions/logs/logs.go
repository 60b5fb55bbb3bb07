// Package logs serves the logs of jobs, live while they run and for as long as they are kept.
package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// poll is how often a follower looks for more. With the interval at which logs are shipped it stays below a
// second.
const poll = 200 * time.Millisecond

// The trailers of an answer. A follower whose answer ended with another phase than a terminal one was cut off by the
// server, and goes on with ?from=<Log-Position>.
const (
	phaseTrailer    = "Job-Phase"
	positionTrailer = "Log-Position"
)

// Function answers GET /api/v1/jobs/:id/logs.
type Function struct {
	reader *logstore.Reader
	ledger *ledger.Ledger
	keys   api.Verifier
	log    *slog.Logger
}

// New returns the function.
func New(s *store.Store, l *ledger.Ledger, keys api.Verifier, log *slog.Logger) *Function {
	return &Function{reader: &logstore.Reader{Store: s, Records: l, Poll: poll}, ledger: l, keys: keys, log: log}
}

// Open returns the function with what env has.
func Open(_ context.Context, env *platform.Env) (*Function, error) {
	s, storeErr := env.Store()
	l, ledgerErr := env.Ledger()
	keys, err := env.Keys()
	if err := errors.Join(storeErr, ledgerErr, err); err != nil {
		return nil, err
	}
	return New(s, l, keys, env.Log), nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) { r.Handle(http.MethodGet, "/api/v1/jobs/:id/logs", f.get) }

func (f *Function) get(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := api.Authorize(r, p, f.keys, token.User)
	if err != nil {
		return err
	}
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	ctx := r.Context()
	if _, err := f.ledger.Live(ctx, id); err != nil {
		return err
	}
	out := &writer{ResponseWriter: w, control: http.NewResponseController(w), flush: q.Follow}
	if q.Follow {
		out.begin() // the client is to see that it is connected before the first line comes
	}
	at, err := f.reader.Copy(ctx, id, q, api.Stopping(ctx), out)
	if err != nil && !out.begun {
		return err
	}
	if err != nil {
		if ctx.Err() == nil {
			f.log.ErrorContext(ctx, "log cut off", "job", id, "error", err)
		}
		panic(http.ErrAbortHandler) // a part must not look like the whole
	}
	out.begin()
	f.trailers(ctx, w, id, at)
	return nil
}

func (f *Function) trailers(ctx context.Context, w http.ResponseWriter, id job.ID, at joblog.Position) {
	w.Header().Set(positionTrailer, fmt.Sprintf("%d,%d", at.Stdout, at.Stderr))
	if s, err := f.ledger.Status(ctx, id); err == nil { // else it has just been removed
		w.Header().Set(phaseTrailer, string(s.Phase))
	}
}

// writer sends the headers before the first byte, and flushes behind each write for a follower.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	flush   bool
	begun   bool
}

func (w *writer) begin() {
	if w.begun {
		return
	}
	w.begun = true
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Trailer", phaseTrailer+", "+positionTrailer)
	w.WriteHeader(http.StatusOK)
	if w.flush {
		_ = w.control.Flush() // the next write reports a client that has gone
	}
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriter.Write(p)
	if err == nil && w.flush {
		err = w.control.Flush()
	}
	return n, err
}
