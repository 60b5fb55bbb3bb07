package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

func (a *app) cancelCommand() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use:   "cancel JOB…",
		Short: "Stop jobs; their records, logs and outputs stay",
		Args:  arguments("JOB", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return each(args, func(ref string) error { return a.cancelJob(cmd.Context(), c, ref, &o) })
		},
		ValidArgsFunction: a.jobRefs(),
	}
	o.optional(c, formatName, formatJSON, formatYAML)
	return c
}

// cancelJob cancels a job. To cancel a cancelled job again is no error, and neither is a repeated
// request: the call is idempotent.
func (a *app) cancelJob(ctx context.Context, c *client.Client, ref string, o *output) error {
	id, err := a.resolve(ctx, c, ref)
	if err != nil {
		return err
	}
	var status job.Status
	raw, err := c.JSON(ctx, client.Call{Method: http.MethodPost, Path: "/api/v1/jobs/" + string(id) + "/cancel"}, &status)
	if err != nil {
		return err
	}
	switch {
	case o.machine():
		return o.object(a.stdout, raw)
	case o.format == formatName:
		_, err = fmt.Fprintln(a.stdout, id)
		return err
	}
	a.console(false).say("%s · cancelled", short(id))
	return nil
}
