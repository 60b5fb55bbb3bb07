package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/settings"
)

func (a *app) contextCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "context",
		Short: "List and choose servers",
		Long: `List and choose servers. A context is a server under a name; gojob login makes one. Commands use the
server of --url or --context, then of GOJOB_URL or GOJOB_CONTEXT, then the current context, and
otherwise ` + settings.DefaultURL + `.`,
	}, a.contextLs(), a.contextUse(), a.contextRm(), a.contextShow())
}

// contextRow is a context as it is listed.
type contextRow struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Current bool   `json:"current"`
	Login   string `json:"login,omitempty"` // "key <ID>", "oidc", or empty for none
}

// contextNames completes the names of contexts.
func (a *app) contextNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	config, err := settings.LoadConfig(a.dirs)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return config.Names(), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) contextLs() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use:   "ls",
		Short: "List the contexts",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			rows, err := a.contexts()
			if err != nil {
				return err
			}
			return printRows(a, &o, rows, []column[contextRow]{
				{title: "CURRENT", cell: func(r contextRow) string { return map[bool]string{true: "*"}[r.Current] }},
				{title: "NAME", cell: func(r contextRow) string { return r.Name }},
				{title: "URL", cell: func(r contextRow) string { return r.URL }},
				{title: "LOGIN", cell: func(r contextRow) string { return r.Login }},
			}, func(r contextRow) string { return r.Name })
		},
	}
	o.listFlags(command, formatTable, formatJSON, formatYAML, formatName)
	return command
}

// printRows prints what is known here, in the formats of what the API answers.
func printRows[T any](a *app, o *output, rows []T, columns []column[T], name func(T) string) error {
	raw := make([]json.RawMessage, len(rows))
	for i, row := range rows {
		text, err := json.Marshal(row)
		if err != nil {
			return err
		}
		raw[i] = text
	}
	l := list[T]{columns: columns, name: name}
	p := l.printer(a.stdout, o)
	if err := p.page(raw); err != nil {
		return err
	}
	return p.end("", nil)
}

func (a *app) contexts() ([]contextRow, error) {
	config, err := settings.LoadConfig(a.dirs)
	if err != nil {
		return nil, err
	}
	credentials, err := settings.LoadCredentials(a.dirs)
	if err != nil {
		return nil, err
	}
	rows := []contextRow{}
	for _, ctx := range config.Contexts {
		row := contextRow{Name: ctx.Name, URL: ctx.URL, Current: ctx.Name == config.Current}
		for i := range credentials {
			if c := &credentials[i]; c.Context == ctx.Name && c.URL == ctx.URL {
				row.Login = loginWord(c)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// loginWord is a credential for people, without what is secret of it.
func loginWord(c *settings.Credential) string {
	switch {
	case c == nil:
		return ""
	case c.OIDC != nil:
		return "oidc"
	case keyID(c.Key) != "":
		return "key " + keyID(c.Key)
	}
	return "token"
}

func (a *app) contextUse() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Use the server of a context from now on",
		Args:              arguments("NAME", 1, 1),
		ValidArgsFunction: once(a.contextNames),
		RunE: func(_ *cobra.Command, args []string) error {
			err := settings.ChangeConfig(a.dirs, func(config *settings.Config) error {
				_, err := config.Find(args[0])
				config.Current = args[0]
				return err
			})
			if err != nil {
				return err
			}
			for _, name := range []string{"GOJOB_URL", "GOJOB_CONTEXT"} {
				if a.getenv(name) != "" {
					fmt.Fprintf(a.stderr, "gojob: %s is set, and comes before the context: unset %s\n", name, name)
				}
			}
			return nil
		},
	}
}

func (a *app) contextRm() *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME",
		Short:             "Forget a server, and the key or login for it",
		Args:              arguments("NAME", 1, 1),
		ValidArgsFunction: once(a.contextNames),
		RunE: func(_ *cobra.Command, args []string) error {
			config, err := settings.LoadConfig(a.dirs)
			if err != nil {
				return err
			}
			if _, err := config.Find(args[0]); err != nil {
				return err
			}
			if _, err := settings.RemoveCredentials(a.dirs, args[0]); err != nil {
				return err
			}
			return settings.ChangeConfig(a.dirs, func(config *settings.Config) error {
				config.Remove(args[0])
				return nil
			})
		},
	}
}

// targetRow is the server that commands call, as it is shown.
type targetRow struct {
	URL     string `json:"url"`
	Source  string `json:"source"`
	Context string `json:"context,omitempty"`
	Login   string `json:"login,omitempty"`
}

func (a *app) contextShow() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use:   "show",
		Short: "Show which server commands call, and why",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			target, err := settings.Resolve(a.flags, a.getenv, a.dirs)
			if err != nil {
				return err
			}
			row := targetRow{target.URL.String(), target.Source, target.Context, loginOf(target)}
			if o.machine() {
				raw, err := json.Marshal(row)
				if err != nil {
					return err
				}
				return o.object(a.stdout, raw)
			}
			var f facts
			f.add("Server", row.URL)
			f.add("Named by", row.Source)
			f.add("Login", row.Login)
			f.add("Contexts", settings.ConfigFile(a.dirs))
			return f.print(a.stdout)
		},
	}
	o.flags(command, formatTable, formatJSON, formatYAML)
	return command
}

// loginOf says what a target is called with.
func loginOf(target settings.Target) string {
	switch {
	case target.Credential != nil:
		return loginWord(target.Credential)
	case keyID(target.Token) != "":
		return "key " + keyID(target.Token) + " in GOJOB_TOKEN"
	case target.Token != "":
		return "GOJOB_TOKEN"
	}
	return ""
}
