// Package outputs lets users download what their jobs left: the logs and the files under results/,
// one by one or all in an archive.
package outputs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/julienschmidt/httprouter"
	"golang.org/x/sync/semaphore"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
)

// Records are what is known of jobs.
type Records interface {
	Live(ctx context.Context, id job.ID) (*job.Index, error)
	Terminal(ctx context.Context, id job.ID) (*job.Terminal, error)
	Status(ctx context.Context, id job.ID) (*job.Status, error)
	Outputs(ctx context.Context, id job.ID) ([]job.File, error)
	OutputsRecorded(ctx context.Context, id job.ID) (bool, error)
	Output(ctx context.Context, id job.ID, name string) (job.File, error)
	// Reported returns what an agent has said of the end of a job that nobody has recorded yet.
	Reported(ctx context.Context, index *job.Index) (*ledger.Report, error)
}

// Function answers GET and HEAD of /outputs/:id and /outputs/:id/*filename.
type Function struct {
	records Records
	bucket  download.Bucket
	files   *download.Source
	packing *semaphore.Weighted // places for archives that are made
	log     *slog.Logger
}

// New returns the function with what env has.
func New(env *platform.Env) (*Function, error) {
	bucket, storeErr := env.Store()
	records, ledgerErr := env.Ledger()
	common, commonErr := env.Common()
	if err := errors.Join(storeErr, ledgerErr, commonErr); err != nil {
		return nil, err
	}
	f := &Function{
		records: records, bucket: bucket, files: download.From(bucket),
		packing: semaphore.NewWeighted(maxArchives), log: env.Log,
	}
	f.files.Linking(bucket, common.SignedURLs, env.Log)
	return f, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.ListOutputs, f.all)
	r.Handle(routes.HeadOutputs, f.all)
	r.Handle(routes.GetOutput, f.one)
	r.Handle(routes.HeadOutput, f.one)
}

// one answers with the output that filename names. Only names in the job's list of outputs are
// looked for in the bucket.
func (f *Function) one(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	name := download.Name(p.ByName("filename"))
	if name == "" {
		return f.all(w, r, p)
	}
	index, err := f.job(r, p)
	if err != nil {
		return err
	}
	if err := download.CheckQuery(r); err != nil {
		return err
	}
	file, err := f.records.Output(r.Context(), index.JobID, name)
	if errors.Is(err, job.ErrNotFound) {
		file, err = f.reported(r.Context(), index, name)
	}
	if errors.Is(err, job.ErrNotFound) {
		return f.missing(r.Context(), index.JobID, name)
	}
	if err != nil {
		return err
	}
	return f.files.Serve(w, r, ledger.ResultKey(index.JobID, name), file)
}

// missing says why there is no output of that name: there is none yet, or never will be.
func (f *Function) missing(ctx context.Context, id job.ID, name string) error {
	if err := f.stored(ctx, id, http.StatusNotFound); err != nil {
		return err
	}
	return api.Fail(http.StatusNotFound, fmt.Sprintf(
		"The job is over and has no output %.200q; GET /outputs/%s lists those it has.", name, id))
}

// stored is an error with the given status while the outputs of a job cannot be stored yet.
func (f *Function) stored(ctx context.Context, id job.ID, status int) error {
	s, err := f.records.Status(ctx, id)
	if err != nil || s.Phase.Terminal() {
		return err
	}
	return api.Fail(status, fmt.Sprintf("Not yet: outputs are stored when the job is over, and it is %s. "+
		"GET /api/v1/jobs/%s tells how it fares, with Prefer: wait=60 once it is over.", s.Phase, id))
}

// all answers with the list of outputs, once they are stored, or with an archive of them.
func (f *Function) all(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	index, files, err := f.outputs(r, p)
	if err != nil {
		return err
	}
	format, err := parseFormat(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if format != nil {
		return f.archive(w, r, *format, index, files)
	}
	if len(files) == 0 {
		if err := f.stored(r.Context(), index.JobID, http.StatusConflict); err != nil {
			return err
		}
	}
	api.WriteJSON(w, http.StatusOK, struct {
		Items []job.File `json:"items"`
	}{files})
	return nil
}

// job returns the job that the request may see.
func (f *Function) job(r *http.Request, p httprouter.Params) (*job.Index, error) {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return nil, err
	}
	return f.records.Live(r.Context(), id)
}

// outputs returns the job that the request may see, and its outputs sorted by name.
func (f *Function) outputs(r *http.Request, p httprouter.Params) (*job.Index, []job.File, error) {
	index, err := f.job(r, p)
	if err != nil {
		return nil, nil, err
	}
	files, err := f.records.Outputs(r.Context(), index.JobID)
	if err != nil {
		return nil, nil, err
	}
	if len(files) == 0 {
		report, err := f.report(r.Context(), index)
		if err != nil {
			return nil, nil, err
		}
		files = report.Files
	}
	if files == nil { // recorded as none at all; items is a list all the same
		files = []job.File{}
	}
	for i := range files {
		files[i].ContentType = download.ContentType(files[i])
	}
	slices.SortFunc(files, func(a, b job.File) int { return strings.Compare(a.Name, b.Name) })
	return index, files, nil
}

// report is what an agent has said of the end of a job, while it is not recorded: the outputs are
// stored by then. It is empty for any other job.
func (f *Function) report(ctx context.Context, index *job.Index) (*ledger.Report, error) {
	recorded, err := f.records.OutputsRecorded(ctx, index.JobID)
	if err != nil || recorded {
		return &ledger.Report{}, err
	}
	r, err := f.records.Reported(ctx, index)
	if errors.Is(err, job.ErrNotFound) {
		return &ledger.Report{}, nil
	}
	return r, err
}

// reported returns an output that an agent has reported.
func (f *Function) reported(ctx context.Context, index *job.Index, name string) (job.File, error) {
	r, err := f.report(ctx, index)
	if err != nil {
		return job.File{}, err
	}
	i := slices.IndexFunc(r.Files, func(file job.File) bool { return file.Name == name })
	if i < 0 {
		return job.File{}, fmt.Errorf("output %q: %w", name, job.ErrNotFound)
	}
	return r.Files[i], nil
}

func parameters() api.Query {
	return api.Query{
		Names:  []string{"format"},
		Others: map[string]string{"archive": "format", "type": "format"},
		Repeat: []string{"format"}, // parseFormat says what is wrong with that
	}
}

// parseFormat reads the query, whose only parameter is format. Without it the result is nil: the
// answer is a list.
func parseFormat(raw string) (*download.Format, error) {
	var sent []string
	err := parameters().Each(raw, func(_, value string) error {
		sent = append(sent, value)
		return nil
	})
	if err != nil || len(sent) == 0 {
		return nil, err
	}
	format, known := download.Formats()[sent[0]]
	if !known || len(sent) > 1 {
		return nil, api.BadRequest("format", "must be zip or tar.gz, once"+
			job.Meant(sent[0], []string{"zip", "tar.gz"}, map[string]string{
				"tgz": "tar.gz", "gz": "tar.gz", "gzip": "tar.gz", "tar": "tar.gz",
			}))
	}
	return &format, nil
}
