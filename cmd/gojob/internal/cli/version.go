package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"go-job-orchestrator/shared/version"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of gojob and of the server",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "gojob %s\n", version.Get().Version)
			return err
		},
	}
}
