package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/shared/job"
)

const templatesPath = "/api/v1/templates"

func templatePath(name string) string { return templatesPath + "/" + url.PathEscape(name) }

func (a *app) templateCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "template",
		Short: "Programs that are uploaded once and started often",
	}, a.templateLs(), a.templateGet(), a.templateSet(), a.templateRunCommand(), a.templateRm())
}

// templateRow is a template as it is listed.
type templateRow struct {
	Name       string    `json:"name"`
	Version    int       `json:"version"`
	Owner      string    `json:"owner"`
	CreatedAt  time.Time `json:"createdAt"`
	Runtime    string    `json:"runtime"`
	Entrypoint string    `json:"entrypoint"`
}

func (a *app) templateLs() *cobra.Command {
	var o output
	var owner string
	command := &cobra.Command{
		Use:   "ls",
		Short: "List the templates",
		Args:  noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			l := list[templateRow]{path: templatesPath, page: maxTemplates, query: url.Values{},
				name: func(t templateRow) string { return t.Name },
				columns: []column[templateRow]{
					{title: "NAME", cell: func(t templateRow) string { return t.Name }},
					{title: "VERSION", cell: func(t templateRow) string { return fmt.Sprint(t.Version) }},
					{title: "RUNTIME", cell: func(t templateRow) string { return t.Runtime }},
					{title: "OWNER", cell: func(t templateRow) string { return t.Owner }},
					{title: "AGE", cell: func(t templateRow) string { return age(t.CreatedAt, a.now()) }},
				}}
			if owner != "" {
				l.query.Set("owner", owner)
			}
			_, err = l.print(command.Context(), c, a.stdout, &o)
			return err
		},
	}
	command.Flags().StringVar(&owner, "owner", "", "only templates of this `OWNER`; for admins")
	o.listFlags(command, formatTable, formatJSON, formatYAML, formatName)
	return command
}

// template is a template as the server shows it.
type template struct {
	job.Spec
	Name    string     `json:"name"`
	Version int        `json:"version"`
	Owner   string     `json:"owner"`
	Created time.Time  `json:"createdAt"`
	Default string     `json:"defaultName"`
	Stdin   *job.File  `json:"stdin"`
	Files   []job.File `json:"files"`
	Events  *struct {
		Types   []string `json:"types"`
		Sources []string `json:"sources"`
	} `json:"events"`
	Secrets []job.Secret `json:"secrets"`
}

func (a *app) templateGet() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use:               "get NAME",
		Short:             "Show a template",
		Args:              arguments("NAME", 1, 1),
		ValidArgsFunction: once(a.templates()),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var t template
			raw, err := c.JSON(command.Context(), client.Call{Method: http.MethodGet, Path: templatePath(args[0])}, &t)
			if err != nil {
				return err
			}
			return a.showTemplate(&o, raw, t)
		},
	}
	o.flags(command, formatTable, formatJSON, formatYAML)
	return command
}

func (a *app) showTemplate(o *output, raw json.RawMessage, t template) error {
	if o.machine() {
		return o.object(a.stdout, raw)
	}
	s := job.Status{Entrypoint: t.Entrypoint, Args: t.Args, CPU: t.CPU, Memory: t.Memory,
		TimeoutSeconds: t.TimeoutSeconds, Retries: t.Retries, RetryOn: t.RetryOn}
	var f facts
	f.add("Name", t.Name)
	f.add("Version", fmt.Sprint(t.Version))
	f.add("Owner", t.Owner)
	f.add("Created", a.moment(&t.Created))
	f.add("Program", program(s))
	f.add("Runtime", t.Runtime)
	f.add("Variables", pairs(t.Env))
	f.add("Labels", pairs(t.Labels))
	f.add("Limits", limits(s))
	f.add("Retries", retries(s))
	f.add("Profile", t.Profile)
	f.add("Image", t.Image)
	f.add("Job name", t.Default)
	if t.Stdin != nil {
		f.add("Stdin", size(t.Stdin.Size))
	}
	f.add("Files", files(t.Files))
	f.add("Secrets", secrets(t.Secrets))
	if t.Events != nil {
		f.add("Events", strings.Join(t.Events.Types, ", ")+" from "+strings.Join(t.Events.Sources, ", "))
	}
	return f.print(a.stdout)
}

// templateEvents are the flags that let events of a Broker start a template.
type templateEvents struct{ types, sources []string }

func (a *app) templateSet() *cobra.Command {
	var f jobFlags
	var files fileFlags
	var events templateEvents
	var o output
	c := &cobra.Command{
		Use:   "set [flags] NAME SCRIPT|DIR|- [ARG…]",
		Short: "Make a template, or its next version",
		Long: `Make a template, or its next version. It takes a program as run does; everything behind that belongs to
the program. An argument such as $.data.bucket is a JSONPath into the event that starts a job.
` + filesHelp,
		Example: `  gojob template set --memory 1Gi resize resize.py
  gojob template set --event-type com.example.uploaded resize resize.py '$.data.name'
  gojob template run resize photo.jpg`,
		Args:              arguments("NAME and SCRIPT, DIR or -", 2, -1),
		ValidArgsFunction: a.templateSetWords(),
		RunE: func(command *cobra.Command, args []string) error {
			made, err := a.jobForm(&f, &files, args[1], args[2:])
			if err != nil {
				return err
			}
			made.Add("eventTypes", strings.Join(events.types, ","))
			made.Add("eventSources", strings.Join(events.sources, ","))
			if files.dryRun {
				return a.printDryRun(made)
			}
			return a.setTemplate(command.Context(), args[0], made, &o)
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().SortFlags = false
	f.register(c.Flags(), "that of the script or folder")
	files.register(c.Flags())
	a.jobFlagWords(c)
	c.Flags().StringSliceVar(&events.types, "event-type", nil, "the `TYPE` of events of a Broker that may start it; * at its end "+
		"stands for any rest; may be repeated")
	c.Flags().StringSliceVar(&events.sources, "event-source", nil, "the `SOURCE` of such events; may be repeated")
	o.flags(c, formatTable, formatJSON, formatYAML, formatName)
	return c
}

// templateSetWords completes the template, and then the files of this machine.
func (a *app) templateSetWords() completion {
	names := a.templates()
	return func(command *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return names(command, args, begun)
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

func (a *app) setTemplate(ctx context.Context, name string, made *form.Form, o *output) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	out := a.console(false)
	out.sayLarge(made)
	bar := out.newBar("uploading", formSize(made))
	raw, err := c.Put(ctx, templatePath(name), made, client.SubmitOptions{
		Key: client.NewKey(), Progress: bar.sent, Retrying: out.sayRetry,
	})
	bar.end()
	if err != nil {
		return byFlags(err)
	}
	if o.machine() {
		return o.object(a.stdout, raw)
	}
	var saved templateRow
	if err := json.Unmarshal(raw, &saved); err != nil {
		return fmt.Errorf("the answer of the server: %w; try: gojob version", err)
	}
	if o.format == formatTable {
		out.say("%s is version %d; start it with: gojob template run %s", saved.Name, saved.Version, saved.Name)
	}
	_, err = fmt.Fprintln(a.stdout, printable(saved.Name))
	return err
}

// byFlags has the faults of an answer named by flags in place of fields.
func byFlags(err error) error {
	var answer *client.Error
	if errors.As(err, &answer) {
		for i, fault := range answer.Faults {
			answer.Faults[i].Field = flagOf(fault.Field)
		}
	}
	return err
}

func (a *app) templateRm() *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME…",
		Short:             "Remove templates",
		Long:              `Remove templates, with all their versions. Jobs that were started from them are not affected.`,
		Args:              arguments("NAME", 1, -1),
		ValidArgsFunction: a.templates(),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return each(args, func(name string) error { return a.removeTemplate(command.Context(), c, name) })
		},
	}
}

func (a *app) removeTemplate(ctx context.Context, c *client.Client, name string) error {
	if _, err := c.JSON(ctx, client.Call{Method: http.MethodDelete, Path: templatePath(name)}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.stdout, name)
	return err
}
