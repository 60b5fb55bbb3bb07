package admission

import (
	"context"
	"errors"
	"slices"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
)

// Check adds the faults that only the whole job shows to those that err has. Any other error is
// returned as it is. ctx has the caller, who must be allowed to use the job's profile.
func (c *Controller) Check(ctx context.Context, spec *job.Spec, files []job.File, err error) error {
	return c.check(spec, files, c.profileFault(ctx, spec), err)
}

// check is Check with the faults of the profile.
func (c *Controller) check(spec *job.Spec, files []job.File, profile []job.Fault, err error) error {
	faults := &job.Faults{Kind: job.ErrInvalid}
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	faults.List = append(faults.List, profile...)
	faults.List = append(faults.List, c.Settings.excess(spec, c.profiles.Current().Of(spec))...)
	wrong := func(field string) bool {
		return slices.ContainsFunc(faults.List, func(f job.Fault) bool { return f.Field == field })
	}
	if !wrong("runtime") {
		if err := faults.Prepend(c.backend.Check(spec)); err != nil {
			return err
		}
	}
	runtime, err := runtimes.Find(spec.Runtime)
	if err != nil && !wrong("runtime") { // whatever the backend thinks of it
		if err := faults.Prepend(err); err != nil {
			return err
		}
	}
	if err == nil && !wrong("entrypoint") && !wrong("files") {
		names := make([]string, len(files))
		for i, file := range files {
			names[i] = file.Name
		}
		if err := faults.Prepend(runtime.CheckEntrypoint(spec.Entrypoint, names)); err != nil {
			return err
		}
	}
	if len(faults.List) == 0 {
		return nil
	}
	return faults
}
