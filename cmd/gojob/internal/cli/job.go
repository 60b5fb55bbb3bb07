package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

// noArguments refuses arguments as a wrong command line.
func noArguments(command *cobra.Command, args []string) error {
	return usage(cobra.NoArgs(command, args))
}

// arguments demands a number of arguments from least to most, which is -1 for any number. names are
// what the arguments are called in messages.
func arguments(names string, least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return &usageError{fmt.Errorf("%s is missing", names)}
		case most >= 0 && len(args) > most:
			return &usageError{fmt.Errorf("%q is one argument too many; it takes %s", args[most], names)}
		}
		return nil
	}
}

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

func (a *app) getCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use:   "get JOB",
		Short: "Show everything about a job",
		Example: `  gojob get @
  gojob get words -o json | jq .phase`,
		Args:              arguments("JOB", 1, 1),
		ValidArgsFunction: once(a.jobRefs()),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.get(command.Context(), c, args[0], &o)
		},
	}
	o.flags(command, formatTable, formatWide, formatJSON, formatYAML, formatName)
	return command
}

func (a *app) get(ctx context.Context, c *client.Client, ref string, o *output) error {
	id, err := a.resolve(ctx, c, ref)
	if err != nil {
		return err
	}
	var status job.Status
	raw, err := c.JSON(ctx, client.Call{Method: http.MethodGet, Path: "/api/v1/jobs/" + string(id)}, &status)
	switch {
	case err != nil:
		return err
	case o.machine():
		return o.object(a.stdout, raw)
	case o.format == formatName:
		_, err = fmt.Fprintln(a.stdout, id)
		return err
	}
	return a.describe(status, o.format == formatWide)
}

func (a *app) rmCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rm JOB…",
		Aliases: []string{"delete"},
		Short:   "Stop jobs and remove everything of them",
		Long: `Stop jobs and remove everything of them: record, log, files and outputs. It goes on after a job that
cannot be removed, and then ends with the exit code of the first fault.`,
		Example: `  gojob rm @
  gojob rm $(gojob ls --all -l team=data -o name)`,
		Args:              arguments("JOB", 1, -1),
		ValidArgsFunction: a.jobRefs(),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return each(args, func(ref string) error { return a.rm(command.Context(), c, ref) })
		},
	}
}

// each goes through all arguments, also after faults, unless the server cannot be reached.
func each(args []string, do func(string) error) error {
	var faults []error
	for _, arg := range args {
		err := do(arg)
		if err == nil {
			continue
		}
		faults = append(faults, err)
		var unreachable *client.UnreachableError
		if errors.As(err, &unreachable) || errors.Is(err, context.Canceled) {
			break
		}
	}
	return joined(faults)
}

// joined is several faults, or the only one.
func joined(faults []error) error {
	if len(faults) == 1 {
		return faults[0]
	}
	return errors.Join(faults...)
}

func (a *app) rm(ctx context.Context, c *client.Client, ref string) error {
	id, err := a.resolve(ctx, c, ref)
	if err != nil {
		return err
	}
	if _, err := c.JSON(ctx, client.Call{Method: http.MethodDelete, Path: "/api/v1/jobs/" + string(id)}, nil); err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	_, err = fmt.Fprintln(a.stdout, id)
	return err
}
