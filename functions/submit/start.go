package submit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/trigger"
)

// startTemplate starts a job from a template.
func (f *Function) startTemplate(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	body := &watched{ReadCloser: r.Body}
	r.Body = body
	index, err := f.startByHand(w, r, p.ByName("name"))
	if err != nil {
		refuse(w, r, body, f.Env.Log, err)
		return nil
	}
	f.answer(w, r, index)
	return nil
}

func (f *Function) startByHand(w http.ResponseWriter, r *http.Request, name string) (*job.Index, error) {
	v, err := f.owned(r, name)
	if err != nil {
		return nil, err
	}
	keyHash, err := idempotencyKey(r, ledger.TemplateKeys, string(v.Owner))
	if err != nil {
		return nil, err
	}
	f.limitReading(w)
	overrides, err := f.forms.ReadOverrides(r)
	if err != nil {
		return nil, err
	}
	// Not of the template: sent again after that was replaced, a request still gets the job that it
	// got.
	print, err := digest(v.Name, v.Owner, overrides)
	if err != nil {
		return nil, err
	}
	return f.startFrom(r.Context(), v, func(spec *job.Spec) ([]source, error) {
		*spec = overrides.Apply(*spec)
		spec.Args, err = trigger.Resolve(r.Context(), spec.Args, nil)
		return nil, err
	}, draft{KeyHash: keyHash, Fingerprint: print, Trace: traceOf(r)})
}

func digest(parts ...any) (string, error) {
	data, err := json.Marshal(parts)
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// source is a file that a job gets besides those of its template.
type source struct {
	name string
	mode string // empty: as its content says
	open func(ctx context.Context) (io.ReadCloser, error)
}

// adapt makes the specification of a template that of a job, and returns what files come on top.
type adapt func(spec *job.Spec) ([]source, error)

// staleTries is how often a job is begun anew because its template was replaced while the files
// were copied.
const staleTries = 5

// startFrom starts a job from a version of a template, or from the one that replaced it meanwhile.
// The job has copies of the files: what becomes of the template is nothing to it.
func (f *Function) startFrom(
	ctx context.Context, v *template.Version, adapt adapt, d draft,
) (index *job.Index, err error) {
	for range staleTries {
		var stale *staleError
		index, err = f.admit(ctx, 0, func(ctx context.Context, id job.ID) (*draft,
			error) {
			return f.copyTemplate(ctx, id, v, adapt, d)
		})
		if !errors.As(err, &stale) {
			return index, err
		}
		owner := v.Owner
		if v, err = f.templates.Current(ctx, v.Name); err != nil {
			return nil, err
		}
		if v.Owner != owner {
			return nil, api.NotOwner()
		}
	}
	return nil, fmt.Errorf("template %s is replaced all the time: %w", v.Name, job.ErrUnavailable)
}

// staleError says that a version's files are there no more.
type staleError struct{ error }

func (f *Function) copyTemplate(
	ctx context.Context, id job.ID, v *template.Version, adapt adapt, d draft,
) (*draft, error) {
	d.Spec, d.Owner, d.Template = v.Spec, v.Owner, &job.Origin{Name: v.Name, Version: v.Version}
	more, err := adapt(&d.Spec)
	if err != nil {
		return nil, err
	}
	if err := f.check(&form.Job{Spec: d.Spec, Files: v.Files}, d.Validate()); err != nil {
		return nil, err
	}
	d.Labels = maps.Clone(d.Labels)
	if d.Labels == nil {
		d.Labels = map[string]string{}
	}
	d.Labels[job.TemplateLabel] = v.Name // which users cannot set
	save := f.saver(id)
	err = f.templates.Each(ctx, v, func(want job.File, r io.Reader) error {
		got, err := save(ctx, want.Name, r)
		if err == nil && got.SHA256 != want.SHA256 {
			err = fmt.Errorf("template %s: file %q is not what was stored", v.Name, want.Name)
		}
		d.Files = append(d.Files, want)
		return err
	})
	if errors.Is(err, job.ErrNotFound) {
		return nil, &staleError{err}
	}
	if err != nil {
		return nil, err
	}
	d.Files, err = f.copyMore(ctx, save, d.Files, more)
	return &d, err
}

func (f *Function) copyMore(ctx context.Context, save form.Saver, files []job.File, more []source) ([]job.File, error) {
	for _, s := range more {
		r, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		file, err := save(ctx, s.name, r)
		r.Close()
		if err != nil {
			return nil, err
		}
		file.Mode = cmp.Or(s.mode, file.Mode)
		files = append(files, file)
	}
	return files, nil
}
