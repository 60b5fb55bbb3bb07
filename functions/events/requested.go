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

// startRequested starts the job that an event brings along. Without a caller there is no role that
// could use the operator's secrets.
func (f *Function) startRequested(
	ctx context.Context, s subscription, e cloudevent.Event, d admission.Draft,
) (*job.Index, error) {
	settings := &f.admission.Settings
	limits := trigger.Limits{Files: int(settings.MaxFiles), NameBytes: settings.NameBytes()}
	request, files, err := trigger.ParseRequest(e, f.admission.Defaults(), limits)
	if request == nil {
		return nil, err
	}
	sources := inMemory(files)
	named := make([]job.File, len(sources))
	for i, source := range sources {
		named[i].Name = source.Name
	}
	d.Secrets = request.Secrets()
	if s.caller != nil {
		d.Secrets = d.Secrets.As(s.caller.Role)
	}
	err = f.admission.CheckSecrets(ctx, &request.Spec, d.Secrets, err)
	if err := f.admission.Check(&request.Spec, named, err); err != nil {
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
