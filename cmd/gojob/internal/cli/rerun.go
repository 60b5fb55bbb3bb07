package cli

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/form"
)

func (a *app) rerunCommand() *cobra.Command {
	var f jobFlags
	var r runFlags
	var stdin string
	c := &cobra.Command{
		Use:   "rerun [flags] JOB [ARG…]",
		Short: "Run a job again, with the same files and changed flags",
		Long: "Submits a new job with the files and the fields of another one, and follows it. A flag replaces what\n" +
			"the other job had: -e all of its variables, and arguments all of its arguments. Values of secrets\n" +
			"have to be given again, because they were removed when the other job ended.\n" + exitHelp,
		Example: "  gojob rerun @\n  gojob rerun -m 4Gi train --epochs 5",
		Args:    arguments("JOB", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.misfits(cmd.Flags()); err != nil {
				return err
			}
			made := &form.Form{}
			if err := a.fillStart(made, &f, stdin, args[1:]); err != nil {
				return err
			}
			_, id, err := a.find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.start(cmd.Context(), start{path: "/api/v1/jobs/" + string(id) + "/rerun", form: made, name: f.name,
				misplaced: misplaced(cmd, args[1:])}, r)
		},
		ValidArgsFunction: once(a.jobRefs()),
	}
	c.Flags().SetInterspersed(false)
	c.Flags().SortFlags = false
	f.register(c.Flags(), "that of the other job")
	c.Flags().StringVar(&stdin, "stdin", "", "the `FILE` that the program reads as its standard input")
	r.register(c, false)
	a.jobFlagWords(c)
	return c
}

// misplaced returns the first argument of the program that is a flag of the command, or "".
func misplaced(cmd *cobra.Command, args []string) string {
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		switch long, isLong := strings.CutPrefix(name, "--"); {
		case isLong && cmd.Flags().Lookup(long) != nil:
			return name
		case len(name) == 2 && name[0] == '-' && name[1] != '-' && cmd.Flags().ShorthandLookup(name[1:]) != nil:
			return name
		}
	}
	return ""
}

// fillStart fills the form of a job that has its files already.
func (a *app) fillStart(to *form.Form, f *jobFlags, stdin string, args []string) error {
	if stdin != "" {
		file, err := a.stdinFile(stdin)
		if err != nil {
			return err
		}
		to.Stdin = &file
	}
	return a.fill(to, f, args)
}

// templateRunCommand is "template run".
func (a *app) templateRunCommand() *cobra.Command {
	var f jobFlags
	var r runFlags
	var stdin string
	c := &cobra.Command{
		Use:   "run [flags] TEMPLATE [ARG…]",
		Short: "Start a job from a template, and follow it",
		Long: "Starts a job from a template, and follows it. Arguments replace those of the template; -e adds to\n" +
			"its variables, and -s to its secrets.\n" + exitHelp,
		Args: arguments("TEMPLATE", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.misfits(cmd.Flags()); err != nil {
				return err
			}
			made := &form.Form{}
			if err := a.fillStart(made, &f, stdin, args[1:]); err != nil {
				return err
			}
			path := "/api/v1/templates/" + url.PathEscape(args[0]) + "/jobs"
			return a.start(cmd.Context(), start{path: path, form: made, name: f.name, misplaced: misplaced(cmd, args[1:])}, r)
		},
		ValidArgsFunction: once(a.templates()),
	}
	c.Flags().SetInterspersed(false)
	c.Flags().SortFlags = false
	f.overrides(c.Flags(), "that of the template")
	c.Flags().StringVar(&stdin, "stdin", "", "the `FILE` that the program reads as its standard input")
	r.register(c, false)
	a.jobFlagWords(c)
	return c
}
