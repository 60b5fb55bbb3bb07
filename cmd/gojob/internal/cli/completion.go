package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"go-job-orchestrator/shared/job"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion for a shell: bash, zsh, fish or powershell",
		Long: `Print the completion for a shell. It completes commands and flags, and asks the server for the names and
IDs of jobs, for profiles and for templates.

  bash        source <(gojob completion bash)
  zsh         gojob completion zsh > "${fpath[1]}/_gojob"
  fish        gojob completion fish > ~/.config/fish/completions/gojob.fish
  powershell  gojob completion powershell | Out-String | Invoke-Expression`,
		Args:      arguments("SHELL", 1, 1),
		ValidArgs: shells,
		RunE: func(command *cobra.Command, args []string) error {
			root := command.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
			return &usageError{fmt.Errorf("%q is not a shell that has completion; there are: bash, zsh, fish, powershell%s",
				args[0], job.Meant(args[0], shells, nil))}
		},
	}
}
