package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// helpColumns is how wide a help is. docs/gojob.md has the same text.
const helpColumns = 100

// The groups of commands in the help.
const (
	groupRun    = "run"
	groupLook   = "look"
	groupServer = "server"
)

// groups puts the commands into groups, in the order of their use.
func groups(root *cobra.Command) {
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run programs:"},
		&cobra.Group{ID: groupLook, Title: "Look after jobs:"}, &cobra.Group{ID: groupServer, Title: "Servers and access:"})
	of := map[string]string{}
	for group, names := range map[string]string{
		groupRun:    "run submit rerun template",
		groupLook:   "ls get logs wait cp cancel rm share open",
		groupServer: "login logout whoami context key doctor",
	} {
		for name := range strings.FieldsSeq(names) {
			of[name] = group
		}
	}
	for _, c := range root.Commands() {
		c.GroupID = of[c.Name()]
	}
}

// usage prints how a command is used. Cobra's own does it by templates, for which the linker would
// keep every method of every type.
func usageOf(c *cobra.Command, w io.Writer) {
	line := c.UseLine()
	if c.HasAvailableSubCommands() {
		line = c.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(w, "Usage:\n  %s\n", line)
	if len(c.Aliases) > 0 {
		fmt.Fprintf(w, "\nAliases:\n  %s\n", strings.Join(c.Aliases, ", "))
	}
	for _, g := range c.Groups() {
		printCommands(c, w, g.Title, g.ID)
	}
	title := "Commands:"
	if len(c.Groups()) > 0 {
		title = "Others:"
	}
	printCommands(c, w, title, "")
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", c.LocalFlags().FlagUsagesWrapped(helpColumns))
	}
	if c.HasAvailableInheritedFlags() {
		fmt.Fprintf(w, "\nFlags of all commands:\n%s", c.InheritedFlags().FlagUsagesWrapped(helpColumns))
	}
	if c.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nMore about a command: %s COMMAND --help\n", c.CommandPath())
	}
}

func printCommands(c *cobra.Command, w io.Writer, title, group string) {
	var out strings.Builder
	for _, sub := range c.Commands() {
		if sub.GroupID == group && sub.IsAvailableCommand() {
			fmt.Fprintf(&out, "  %-11s %s\n", sub.Name(), sub.Short)
		}
	}
	if out.Len() > 0 {
		fmt.Fprintf(w, "\n%s\n%s", title, out.String())
	}
}

// helpOf prints the help of a command.
func helpOf(c *cobra.Command, w io.Writer) {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(w, "%s\n\n", strings.TrimSpace(text))
	usageOf(c, w)
}
