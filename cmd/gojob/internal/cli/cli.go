// Package cli has the commands of gojob: flags, what is printed, and exit codes.
package cli

//go:generate go test -run ^TestReference$ -update .

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/settings"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/version"
)

// Main runs the command line of this process and returns its exit code.
func Main() int {
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now,
		dirs: settings.UserDirs(),
	}
	return a.run(context.Background(), os.Args)
}

// app is what all commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	flags          settings.Flags // of every command
	dirs           settings.Dirs
	target         settings.Target // what client has found
}

// run runs a command line, whose first word is the name of the program.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root(filepath.Base(args[0]))
	root.SetArgs(args[1:])
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	command, err := root.ExecuteContextC(ctx)
	return a.finish(command, err)
}

// knPlugin is the name under which gojob is a plugin of Knative's kn: "kn job run x.py".
const knPlugin = "kn-job"

// root is the command gojob with all others. name is that of the program.
func (a *app) root(name string) *cobra.Command {
	root := &cobra.Command{
		Use:   "gojob",
		Short: "Run programs on a server of the Go Job Orchestrator as if they ran here",
		Long: `Run programs on a server of the Go Job Orchestrator as if they ran here.

A JOB is an ID, the beginning of one, a name, of which the newest job counts, or @, the job that was
submitted last from here.

The server is that of --url or --context, else of GOJOB_URL or GOJOB_CONTEXT, else the current context
of gojob login, else ` + settings.DefaultURL + `. GOJOB_TOKEN is a key in place of a stored one.

Commands end with 0 if all went well, 1 after an error, 2 for a wrong command line, 3 if there is no
such job, 4 if the server does not allow it, and 5 if it cannot be reached. run, rerun, logs and wait
have exit codes of their own.`,
		Version:           version.Get().String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              noCommand,
		RunE:              func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	if strings.TrimSuffix(name, ".exe") == knPlugin {
		root.Use = knPlugin
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kn job"}
	}
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { helpOf(c, a.stdout) })
	root.SetUsageFunc(func(c *cobra.Command) error { usageOf(c, a.stderr); return nil })
	root.SetHelpCommand(helpCommand())
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVar(&a.flags.URL, "url", "", "the `URL` of the server (GOJOB_URL)")
	root.PersistentFlags().StringVar(&a.flags.Context, "context", "", "the `NAME` of a context (GOJOB_CONTEXT)")
	_ = root.RegisterFlagCompletionFunc("context", a.contextNames)
	_ = root.RegisterFlagCompletionFunc("url", cobra.NoFileCompletions)
	root.AddCommand(a.commands()...)
	groups(root)
	return root
}

// helpCommand is "gojob help COMMAND".
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND]",
		Short:             "Print the help of a command",
		ValidArgsFunction: completeCommands,
		RunE: func(c *cobra.Command, args []string) error {
			command, rest, err := c.Root().Find(args)
			if err != nil {
				return usage(err)
			}
			if err := noCommand(command, rest); err != nil {
				return err
			}
			return command.Help()
		},
	}
}

// completeCommands completes the commands below those that are there.
func completeCommands(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	parent, _, err := c.Root().Find(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, sub := range parent.Commands() {
		if sub.IsAvailableCommand() {
			words = append(words, sub.Name()+"\t"+sub.Short)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// noCommand refuses what is no command of its parent, and says which was probably meant.
func noCommand(parent *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range parent.Commands() {
		names = append(names, c.Name())
		names = append(names, c.Aliases...)
	}
	return &usageError{fmt.Errorf("%s has no command %q%s", parent.CommandPath(), args[0], job.Meant(args[0], names, nil))}
}

// group is a command that only has other commands.
func group(command *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	command.Args = noCommand
	command.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	command.AddCommand(commands...)
	return command
}

// commands are all commands. Each has a file of its own.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.runCommand(),
		a.submitCommand(),
		a.rerunCommand(),
		a.logsCommand(),
		a.waitCommand(),
		a.cancelCommand(),
		a.lsCommand(),
		a.getCommand(),
		a.rmCommand(),
		a.cpCommand(),
		a.shareCommand(),
		a.templateCommand(),
		a.loginCommand(),
		a.logoutCommand(),
		a.whoamiCommand(),
		a.contextCommand(),
		a.keyCommand(),
		a.openCommand(),
		a.completionCommand(),
		a.versionCommand(),
		a.doctorCommand(),
	}
}

// client returns a client of the server that flags, environment and configuration name.
func (a *app) client() (*client.Client, error) {
	target, err := settings.Resolve(a.flags, a.getenv, a.dirs)
	if err != nil {
		return nil, err
	}
	a.target = target
	return client.New(target.URL, a.tokens(target)), nil
}

// anonymous returns a client of a server that sends no credentials.
func anonymous(target settings.Target) *client.Client {
	return client.New(target.URL, client.Token(""))
}
