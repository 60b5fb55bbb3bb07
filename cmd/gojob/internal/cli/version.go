package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/settings"
	"go-job-orchestrator/shared/version"
)

// build is what a command was built from.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	Go      string `json:"go"`
}

func (a *app) versionCommand() *cobra.Command {
	var o output
	var clientOnly bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the version of gojob and of the server",
		Args:  noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.version(command.Context(), &o, clientOnly)
		},
	}
	command.Flags().BoolVar(&clientOnly, "client", false, "only that of gojob")
	o.flags(command, formatTable, formatJSON, formatYAML)
	return command
}

func (a *app) version(ctx context.Context, o *output, clientOnly bool) error {
	own := version.Get()
	var server client.Server
	var failed error
	if !clientOnly {
		server, failed = a.serverVersion(ctx)
	}
	if o.machine() {
		raw, err := json.Marshal(struct {
			Client build           `json:"client"`
			Server json.RawMessage `json:"server,omitempty"`
		}{build{own.Version, own.Commit, own.Date, own.Go}, server.Raw})
		if err == nil {
			err = o.object(a.stdout, raw)
		}
		if err != nil {
			return err
		}
		return failed
	}
	if _, err := fmt.Fprintf(a.stdout, "gojob %s\n", own); err != nil || clientOnly || failed != nil {
		return firstOf(err, failed)
	}
	_, err := fmt.Fprintf(a.stdout, "server %s (commit %s) %s at %s\n", printable(server.Version),
		printable(server.Commit), printable(server.Go), a.target.URL)
	return err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// serverVersion asks the server for its version, and says on standard error what it cannot do.
func (a *app) serverVersion(ctx context.Context) (client.Server, error) {
	target, err := settings.Resolve(a.flags, a.getenv, a.dirs)
	if err != nil {
		return client.Server{}, err
	}
	a.target = target
	c := anonymous(target)
	s, err := c.Describe(ctx, a.now)
	if err != nil {
		return client.Server{}, err
	}
	if text, _ := misfit(ctx, c, s.Version); text != "" {
		fmt.Fprintf(a.stderr, "gojob: %s\n", text)
	}
	return s, nil
}

// misfit says what a server of another time cannot do; empty if it fits.
func misfit(ctx context.Context, c *client.Client, serverVersion string) (string, error) {
	commands, tooNew, err := c.Lacks(ctx)
	switch {
	case err != nil:
		return "", err
	case tooNew:
		return fmt.Sprintf("the server (%s) is too new for this gojob (%s); update gojob", printable(serverVersion),
			version.Get().Version), nil
	case len(commands) > 0:
		return fmt.Sprintf("the server (%s) is too old for: %s; ask its operator to update it, or use an older gojob",
			printable(serverVersion), strings.Join(commands, ", ")), nil
	}
	return "", nil
}

// explainUnknown says what to do when the server did not know a call or a field.
func (a *app) explainUnknown() {
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	theirs := "version unknown"
	if a.target.URL != nil {
		if s, err := anonymous(a.target).Describe(ctx, a.now); err == nil {
			theirs = "version " + printable(s.Version)
		}
	}
	fmt.Fprintf(a.stderr, "the server (%s) is too old for this command of gojob (version %s); ask its operator to "+
		"update it, or use an older gojob\n", theirs, version.Get().Version)
}
