package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"go-job-orchestrator/shared/job"
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
	for range replacedTries {
		index, err := c.fromVersion(ctx, v, s)
		if !errors.Is(err, errReplaced) {
			return index, err
		}
		owner := v.Owner
		if v, err = c.templates.Current(ctx, v.Name); err != nil {
			return nil, err
		}
		if v.Owner != owner {
			return nil, template.Unknown(v.Name)
		}
	}
	return nil, fmt.Errorf("template %s is replaced all the time: %w", v.Name, job.ErrUnavailable)
}

func (c *Controller) fromVersion(ctx context.Context, v *template.Version, s Start) (*job.Index, error) {
	tx, err := c.Begin(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer tx.Abort(ctx)
	d := s.Draft
	d.Owner, d.Template = v.Owner, &job.Origin{Name: v.Name, Version: v.Version}
	if d.Spec, err = s.Change(v.Spec); err != nil {
		return nil, err
	}
	// Whoever saved the template was allowed to use its profile. An event that starts it has no caller.
	named := c.templateProfile(ctx, v.Spec.Profile, &d.Spec)
	if err := c.check(&d.Spec, v.Files, named, d.Validate()); err != nil { // before any file is copied
		return nil, err
	}
	d.Labels = maps.Clone(d.Labels)
	if d.Labels == nil {
		d.Labels = map[string]string{}
	}
	d.Labels[job.TemplateLabel] = v.Name // which users cannot set
	if err := tx.copyVersion(ctx, v); err != nil {
		return nil, err
	}
	more, err := tx.Copy(ctx, s.Files)
	if err != nil {
		return nil, err
	}
	d.Files = append(append(d.Files, v.Files...), more...)
	return tx.record(ctx, d)
}

// copyVersion copies the files of a version of a template.
func (tx *Tx) copyVersion(ctx context.Context, v *template.Version) error {
	for _, want := range v.Files {
		got, err := tx.copy(context.WithoutCancel(ctx), Source{Name: want.Name,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return tx.c.templates.Open(ctx, v, want.Name) }})
		if errors.Is(err, job.ErrNotFound) {
			return fmt.Errorf("template %s, version %d: %w: %w", v.Name, v.Version, errReplaced, err)
		}
		if err != nil {
			return err
		}
		if got.SHA256 != want.SHA256 {
			return fmt.Errorf("template %s: file %q is not what was stored", v.Name, want.Name)
		}
	}
	return nil
}
