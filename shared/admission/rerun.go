package admission

import (
	"context"
	"fmt"
	"io"
	"maps"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/secret"
)

// Rerunnable returns the specification of a job as a user could have sent it.
func Rerunnable(from *job.Index) job.Spec {
	spec := from.Spec
	spec.Labels = maps.Clone(spec.Labels)
	delete(spec.Labels, job.TemplateLabel)
	return spec
}

// Rerun is Commit for a job that repeats another one, with the specification of the draft. The new
// job belongs to the owner of the other one, also if an admin asks for it, as jobs of templates do.
func (tx *Tx) Rerun(ctx context.Context, from *job.Index, d Draft) (*job.Index, error) {
	faults := join(d.Faults, checkStdin(d.Stdin, from.Files), checkRoom(from, d.Labels), checkSent(from, d.Secrets))
	d.Inherited = secret.References(from.Secrets)
	faults = tx.c.CheckSecrets(ctx, &d.Spec, d.Inherited.With(d.Secrets), faults)
	named := tx.c.keptProfile(ctx, from.Profile, &d.Spec)
	var err error
	if d.Entrypoint != from.Entrypoint || d.Runtime != from.Runtime { // which was checked when it was sent
		if d.Tree, err = tx.c.listAgain(ctx, from); err != nil {
			return nil, err
		}
	}
	if err := tx.c.check(&d.Spec, from.Files, d.Tree, named, faults); err != nil { // before any file is copied
		return nil, err
	}
	// A rerun has what is listed here. What a job has besides must be added, or reruns lack it.
	d.Owner, d.Template, d.RerunOf, d.Files = from.Owner, from.Template, from.JobID, from.Files
	d.Inferred = stillInferred(from, &d.Spec)
	var stdin *job.File
	if d.Stdin == nil {
		stdin, d.Stdin = from.Stdin, from.Stdin
	}
	if from.Template != nil {
		d.Labels = withTemplate(d.Labels, from.Template.Name)
	}
	err = tx.copyAll(ctx, from.Files, stdin, func(ctx context.Context, name string) (io.ReadCloser, error) {
		return tx.c.bucket.Open(ctx, ledger.FileKey(from.JobID, name), 0, -1)
	})
	if err != nil {
		return nil, fmt.Errorf("rerun job %s: %w", from.JobID, err)
	}
	return tx.record(ctx, d)
}

// stillInferred is what was inferred of a job, without what its rerun changes.
func stillInferred(from *job.Index, spec *job.Spec) *job.Inferred {
	if from.Inferred == nil {
		return nil
	}
	left := *from.Inferred
	if spec.Runtime != from.Runtime {
		left.Runtime = ""
	}
	if spec.Entrypoint != from.Entrypoint {
		left.Entrypoint = ""
	}
	if left == (job.Inferred{}) {
		return nil
	}
	return &left
}

// checkSent refuses a rerun without the values that the user sent with the first job.
func checkSent(from *job.Index, sent secret.Set) error {
	if faults := secret.Missing(from.Secrets, sent); len(faults) > 0 {
		return &job.Faults{Kind: job.ErrInvalid, List: faults}
	}
	return nil
}

// checkRoom refuses labels that leave no room for the one of the job's template.
func checkRoom(from *job.Index, labels map[string]string) error {
	if from.Template == nil || len(labels) < job.MaxLabels {
		return nil
	}
	return job.Invalid("labels", fmt.Sprintf("has %d labels; a job of a template can have %d, since it gets one more",
		len(labels), job.MaxLabels-1))
}
