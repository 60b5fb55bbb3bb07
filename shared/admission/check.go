package admission

import (
	"errors"
	"slices"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
)

// Check adds the faults that only the whole job shows to those that err has. Any other error is
// returned as it is.
func (c *Controller) Check(spec *job.Spec, files []job.File, err error) error {
	faults := &job.Faults{Kind: job.ErrInvalid}
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	faults.List = append(faults.List, c.Settings.excess(spec)...)
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
