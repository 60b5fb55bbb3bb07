// Package cli has the commands of gojob: flags, what is printed, and exit codes.
package cli

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/settings"
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
	root := a.root()
	root.SetArgs(args[1:])
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	command, err := root.ExecuteContextC(ctx)
	return a.finish(command, err)
}

// root is the command gojob with all others.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "gojob",
		Short:         "Run programs on a server of the Go Job Orchestrator as if they ran here",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVar(&a.flags.URL, "url", "", "the `URL` of the server (GOJOB_URL)")
	root.PersistentFlags().StringVar(&a.flags.Context, "context", "", "the `NAME` of a context (GOJOB_CONTEXT)")
	root.AddCommand(a.commands()...)
	return root
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
		a.versionCommand(),
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
