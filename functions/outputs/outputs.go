// Package outputs serves what jobs left in results/.
package outputs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/token"
)

// Records are what is known of jobs and their outputs.
type Records interface {
	Live(ctx context.Context, id job.ID) (*job.Index, error)
	Terminal(ctx context.Context, id job.ID) (*job.Terminal, error)
	Outputs(ctx context.Context, id job.ID) ([]job.File, error)
}

// Function answers GET /outputs/:id and GET, HEAD /outputs/:id/*filename.
type Function struct {
	source  download.Source
	records Records
	keys    api.Verifier
	log     *slog.Logger
}

// New returns the function.
func New(s download.Source, r Records, keys api.Verifier, log *slog.Logger) *Function {
	return &Function{source: s, records: r, keys: keys, log: log}
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
func (f *Function) Mount(r *api.Router) {
	r.Handle(http.MethodGet, "/outputs/:id", f.list)
	r.Handle(http.MethodGet, "/outputs/:id/*filename", f.get)
	r.Handle(http.MethodHead, "/outputs/:id/*filename", f.get)
}

// outputs returns the job that the request may see, and what is stored of its outputs.
func (f *Function) outputs(r *http.Request, p httprouter.Params) (*job.Index, []job.File, error) {
	id, err := api.Authorize(r, p, f.keys, token.User)
	if err != nil {
		return nil, nil, err
	}
	index, err := f.records.Live(r.Context(), id)
	if err != nil {
		return nil, nil, err
	}
	files, err := f.records.Outputs(r.Context(), id)
	return index, files, err
}

// list answers with the names of all outputs, none before the job is over, or with an archive of them.
func (f *Function) list(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	index, files, err := f.outputs(r, p)
	if err != nil {
		return err
	}
	format, err := parseFormat(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if format != nil {
		return f.archive(w, r, index, files, *format)
	}
	api.WriteJSON(w, http.StatusOK, struct {
		Items []job.File `json:"items"`
	}{files})
	return nil
}

func parseFormat(raw string) (*download.Format, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, api.BadRequest("query", "is not a valid query string")
	}
	for name, list := range values {
		if name != "format" {
			return nil, api.BadRequest(name, "is not a parameter of this call; there is: format")
		}
		format, ok := download.Formats()[list[0]]
		if !ok || len(list) > 1 {
			return nil, api.BadRequest("format", "must be zip or tar.gz, once")
		}
		return &format, nil
	}
	return nil, nil //nolint:nilnil // no format is a list
}

func (f *Function) archive(w http.ResponseWriter, r *http.Request, index *job.Index, files []job.File, format download.Format) error {
	t, err := f.records.Terminal(r.Context(), index.JobID)
	if errors.Is(err, job.ErrNotFound) {
		return job.Refuse(job.ErrConflict, "", "the job is not over; its outputs are stored when it is")
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", format.ContentType)
	h.Set("Content-Disposition", download.Attachment(index.JobName+format.Extension))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	key := func(name string) string { return ledger.ResultKey(index.JobID, name) }
	if err := format.Write(r.Context(), w, f.source, key, files, t.FinishedAt); err != nil {
		if r.Context().Err() == nil {
			f.log.ErrorContext(r.Context(), "archive cut off", "job", index.JobID, "error", err)
		}
		panic(http.ErrAbortHandler) // a part must not look like the whole
	}
	return nil
}

// get answers with one output. Only what the records name is served, whatever else lies there.
func (f *Function) get(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	name := download.Name(p.ByName("filename"))
	if name == "" && r.Method == http.MethodGet {
		return f.list(w, r, p)
	}
	index, files, err := f.outputs(r, p)
	if err != nil {
		return err
	}
	i, found := slices.BinarySearchFunc(files, name, func(file job.File, name string) int { return strings.Compare(file.Name, name) })
	if !found {
		return fmt.Errorf("output %q: %w", name, job.ErrNotFound)
	}
	return download.Serve(w, r, f.source, ledger.ResultKey(index.JobID, name), files[i])
}
