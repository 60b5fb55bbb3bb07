package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// update writes docs/gojob.md: go generate ./cmd/gojob/...
var update = flag.Bool("update", false, "write docs/gojob.md")

// reference is the file that has the help of all commands, and marker the line behind which they are.
const (
	reference = "../../../../docs/gojob.md"
	marker    = "<!-- What follows is made by: go generate ./cmd/gojob/... -->\n"
)

// TestReference demands that docs/gojob.md has the help of each command.
func TestReference(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	head, old, found := strings.Cut(string(text), marker)
	if !found {
		t.Fatalf("docs/gojob.md has no line %q", marker)
	}
	want := documentation()
	if *update {
		if err := os.WriteFile(reference, []byte(head+marker+want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, old); diff != "" {
		t.Errorf("docs/gojob.md (-commands +file); run: go generate ./cmd/gojob/...\n%s", diff)
	}
}

// documentation is the help of all commands in Markdown.
func documentation() string {
	var out strings.Builder
	a := &app{getenv: func(string) string { return "" }}
	root := a.root("gojob")
	root.InitDefaultHelpFlag()
	fmt.Fprintf(&out, "\n## Commands\n\n%s", section(root))
	for _, g := range root.Groups() {
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				describeCommand(&out, c)
			}
		}
	}
	for _, c := range root.Commands() {
		if c.GroupID == "" && c.Name() != "help" {
			describeCommand(&out, c)
		}
	}
	return out.String()
}

func describeCommand(out *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(out, "\n### %s\n\n%s", c.CommandPath(), section(c))
	for _, sub := range c.Commands() {
		describeCommand(out, sub)
	}
}

// section is the help of a command, without what all commands have.
func section(c *cobra.Command) string {
	var help bytes.Buffer
	helpOf(c, &help)
	text := help.String()
	if c.HasParent() {
		begin := strings.Index(text, "\nFlags of all commands:\n")
		if end := strings.Index(text[begin+1:], "\n\n"); end >= 0 {
			text = text[:begin] + text[begin+1+end+1:]
		} else {
			text = text[:begin]
		}
	}
	return "```text\n" + strings.TrimRight(text, "\n") + "\n```\n"
}

// TestHelp demands that helps fit into their columns, and name each argument of a flag.
func TestHelp(t *testing.T) {
	a := &app{getenv: func(string) string { return "" }}
	var all func(*cobra.Command)
	all = func(c *cobra.Command) {
		var help bytes.Buffer
		helpOf(c, &help)
		for line := range strings.Lines(help.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 104 {
				t.Errorf("%s: a line of the help has %d columns: %s", c.CommandPath(), n, line)
			}
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the short help is %q; it is a phrase without a full stop", c.CommandPath(), c.Short)
		}
		for _, sub := range c.Commands() {
			all(sub)
		}
	}
	all(a.root("gojob"))
}
