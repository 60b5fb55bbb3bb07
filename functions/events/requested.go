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
	"go-job-orchestrator/shared/project"
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
	d.Secrets = request.Secrets()
	if s.caller != nil {
		d.Secrets = d.Secrets.As(s.caller.Role)
	}
	p, err := f.project(ctx, request, files, err)
	inferred, err := f.admission.Complete(ctx, p, err)
	err = f.admission.CheckSecrets(ctx, p.Spec, d.Secrets, err)
	if err := f.admission.Check(ctx, p.Spec, p.Files, p.Tree, err); err != nil {
		return nil, err // 422 although the queue may be full: the event never starts a job
	}
	tx, err := f.admission.Begin(ctx, int64(len(e.Data())))
	if err != nil {
		return nil, err
	}
	defer tx.Abort(ctx)
	if d.Files, err = tx.Copy(ctx, inMemory(p.Files, files)); err != nil {
		return nil, err
	}
	if input := request.Input(); input != nil {
		stdin, err := tx.Put(ctx, job.StdinFile, bytes.NewReader(input))
		if err != nil {
			return nil, err
		}
		stdin.Mode = "" // it is not run, whatever it begins with
		d.Stdin = &stdin
	}
	d.Spec, d.Tree, d.Inferred = request.Spec, p.Tree, inferred
	return tx.Commit(ctx, d)
}

// project returns the files of a request in the order of their names, and what they say. The error
// has the faults of err as well.
func (f *Function) project(
	ctx context.Context, request *trigger.Request, files map[string][]byte, err error,
) (admission.Project, error) {
	p := admission.Project{Spec: &request.Spec, Tree: project.New()}
	faults, unread := &job.Faults{Kind: job.ErrInvalid}, false
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := job.File{Name: name}
		var fault error
		switch content := bytes.NewReader(files[name]); {
		case request.Archive == nil || name != request.Archive.Name:
			if message := p.Tree.Add(name); message != "" {
				fault = job.Invalid("files", message)
			} else {
				_, fault = io.Copy(io.Discard, p.Tree.Noting(name, content))
			}
		case err == nil:
			fault = f.admission.ListArchive(ctx, &file, content, content.Size(), p.Tree)
		default: // it may not be whole
			file.Archive, unread = job.Tar, true
		}
		if other := faults.Prepend(fault); other != nil {
			return p, other
		}
		p.Files = append(p.Files, file)
	}
	if unread {
		p.Tree = nil
	}
	if len(faults.List) == 0 {
		return p, err
	}
	if other := faults.Prepend(err); other != nil {
		return p, other
	}
	return p, faults
}

// inMemory are files whose content is in memory.
func inMemory(files []job.File, contents map[string][]byte) []admission.Source {
	var list []admission.Source
	for _, f := range files {
		list = append(list, admission.Source{
			Name: f.Name, Archive: f.Archive, Entries: f.Entries, Unpacked: f.Unpacked,
			Open: func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(contents[f.Name])), nil
			},
		})
	}
	return list
}
