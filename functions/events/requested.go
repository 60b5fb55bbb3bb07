package events

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/trigger"
)

// startRequested starts the job that an event brings along.
func (f *Function) startRequested(ctx context.Context, e cloudevent.Event, d admission.Draft) (*job.Index, error) {
	s := &f.admission.Settings
	limits := trigger.Limits{Files: int(s.MaxFiles), NameBytes: s.NameBytes()}
	request, files, err := trigger.ParseRequest(e, f.admission.Defaults(), limits)
	if request == nil {
		return nil, err
	}
	sources := inMemory(files)
	named := make([]job.File, len(sources))
	for i, source := range sources {
		named[i].Name = source.Name
	}
	if err := f.admission.Check(ctx, &request.Spec, named, err); err != nil {
		return nil, err // 422 although the queue may be full: the event never starts a job
	}
	tx, err := f.admission.Begin(ctx, int64(len(e.Data())))
	if err != nil {
		return nil, err
	}
	defer tx.Abort(ctx)
	if d.Files, err = tx.Copy(ctx, sources); err != nil {
		return nil, err
	}
	d.Spec = request.Spec
	return tx.Commit(ctx, d)
}

// inMemory are files in the order of their names.
func inMemory(files map[string][]byte) []admission.Source {
	var list []admission.Source
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, admission.Source{Name: name, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(files[name])), nil
		}})
	}
	return list
}
