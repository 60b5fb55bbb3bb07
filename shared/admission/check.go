package admission

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/project"
	"go-job-orchestrator/shared/runtimes"
)

// Check adds the faults that only the whole job shows to those that err has. Any other error is
// returned as it is. The tree is what the files say; nil: only their names do. ctx has the caller, who
// must be allowed to use the job's profile.
func (c *Controller) Check(
	ctx context.Context, spec *job.Spec, files []job.File, tree *project.Tree, err error,
) error {
	return c.check(spec, files, tree, c.profileFault(ctx, spec), err)
}

// check is Check with the faults of the profile.
func (c *Controller) check(
	spec *job.Spec, files []job.File, tree *project.Tree, profile []job.Fault, err error,
) error {
	faults := &job.Faults{Kind: job.ErrInvalid}
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	faults.List = append(faults.List, profile...)
	faults.List = append(faults.List, c.Settings.excess(spec, c.profiles.Current().Of(spec))...)
	wrong := func(field string) bool { return isFaulty(faults, field) }
	known := spec.Runtime != "" && !wrong("runtime") // else it could not be inferred, and there is a fault
	if known {
		if err := faults.Prepend(c.backend.Check(spec)); err != nil {
			return err
		}
	}
	runtime, err := runtimes.Find(spec.Runtime)
	if err != nil && known && !wrong("runtime") { // whatever the backend thinks of it
		if err := faults.Prepend(err); err != nil {
			return err
		}
	}
	names, listed := programNames(files, tree)
	if err == nil && listed && !isFaulty(faults, "entrypoint", "files", "archive") {
		if err := faults.Prepend(runtime.CheckEntrypoint(spec.Entrypoint, names)); err != nil {
			return err
		}
	}
	if len(faults.List) == 0 {
		return nil
	}
	return faults
}
