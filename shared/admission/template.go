package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/template"
)

// Start is what a job has of its own that is started from a template.
type Start struct {
	Draft                                        // without a specification, files, owner and template
	Change func(spec job.Spec) (job.Spec, error) // makes the template's specification that of the job
	Files  []Source                              // besides those of the template
}

// replacedTries is how often a job is begun anew because its template was replaced while the files
// were copied.
const replacedTries = 5

// errReplaced is the error for a version whose files are gone.
var errReplaced = errors.New("replaced meanwhile")

// FromTemplate starts a job from a version of a template, or from the one that replaced it
// meanwhile. The job has copies of the files, so later changes of the template do not affect it.
func (c *Controller) FromTemplate(ctx context.Context, v *template.Version, s Start) (*job.Index, error) {
	tx, err := c.Begin(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer tx.Abort(ctx)
	return tx.FromTemplate(ctx, v, s)
}

// FromTemplate is Commit for a job that is started from a template. The Draft may have a Stdin that
// was stored.
func (tx *Tx) FromTemplate(ctx context.Context, v *template.Version, s Start) (*job.Index, error) {
	for range replacedTries {
		index, err := tx.fromVersion(ctx, v, s)
		if !errors.Is(err, errReplaced) {
			return index, err
		}
		if err := tx.drop(ctx, v.Files); err != nil {
			return nil, err
		}
		owner := v.Owner
		if v, err = tx.c.templates.Current(ctx, v.Name); err != nil {
			return nil, err
		}
		if v.Owner != owner {
			return nil, template.Unknown(v.Name)
		}
	}
	return nil, fmt.Errorf("template %s is replaced all the time: %w", v.Name, job.ErrUnavailable)
}

func (tx *Tx) fromVersion(ctx context.Context, v *template.Version, s Start) (*job.Index, error) {
	d := s.Draft
	d.Owner, d.Template = v.Owner, &job.Origin{Name: v.Name, Version: v.Version}
	var err error
	if d.Spec, err = s.Change(v.Spec); err != nil {
		return nil, err
	}
	stdin := v.Stdin
	if d.Stdin != nil {
		stdin = nil
	}
	d.Inherited = secret.References(v.Secrets)
	faults := join(d.Validate(), checkStdin(d.Stdin, v.Files))
	faults = tx.c.CheckSecrets(ctx, &d.Spec, d.Inherited.With(d.Secrets), faults)
	// Whoever saved the template was allowed to use its profile. An event that starts it has no caller.
	named := tx.c.keptProfile(ctx, v.Spec.Profile, &d.Spec)
	if err := tx.c.check(&d.Spec, v.Files, nil, named, faults); err != nil { // before any file is copied
		return nil, err
	}
	d.Labels = withTemplate(d.Labels, v.Name)
	err = tx.copyAll(ctx, v.Files, stdin, func(ctx context.Context, name string) (io.ReadCloser, error) {
		return tx.c.templates.Open(ctx, v, name)
	})
	if errors.Is(err, job.ErrNotFound) {
		return nil, fmt.Errorf("template %s, version %d: %w: %w", v.Name, v.Version, errReplaced, err)
	}
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", v.Name, err)
	}
	more, err := tx.Copy(ctx, s.Files)
	if err != nil {
		return nil, err
	}
	d.Files = append(append(d.Files, v.Files...), more...)
	if stdin != nil {
		d.Stdin = stdin
	}
	return tx.record(ctx, d)
}

// withTemplate adds the label of a template, which users cannot set.
func withTemplate(labels map[string]string, name string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[job.TemplateLabel] = name
	return labels
}
