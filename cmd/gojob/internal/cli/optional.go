package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"go-job-orchestrator/shared/job"
)

// optional adds -o to a command that prints nothing for machines without it.
func (o *output) optional(command *cobra.Command, formats ...string) {
	command.Flags().StringVarP(&o.format, "output", "o", "",
		"print the job to stdout in a `FORMAT`: "+strings.Join(formats, ", "))
	before := command.PreRunE
	command.PreRunE = func(c *cobra.Command, args []string) error {
		if o.format != "" && !slices.Contains(formats, o.format) {
			return usagef("-o %s: the formats are %s%s", o.format, strings.Join(formats, ", "),
				job.Meant(o.format, formats, nil))
		}
		if before != nil {
			return before(c, args)
		}
		return nil
	}
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}
