// Package command is what every command has in common: --help, --version, and the refusal of
// arguments that it does not take.
package command

import (
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/version"
)

// Usage says what a command is and takes.
type Usage struct {
	Summary string
	// Arguments are those of which the command takes exactly one; empty: it takes none.
	Arguments []string
	// Settings are pointers to structs with tags of github.com/caarlos0/env.
	Settings []any
}

// ExitUsage is the exit code of a command that was given other arguments than it takes.
const ExitUsage = 2

// errUsage tells of arguments that the command does not take.
var errUsage = errors.New("see --help")

// Parse looks at a command's line, its own name first. When done is set, the command has been
// answered and ends with the code; argument is the one that it was given.
func (u Usage) Parse(line []string, stdout, stderr io.Writer) (argument string, code int, done bool) {
	info, _ := debug.ReadBuildInfo()
	name := commandName(line, info)
	args := line[min(1, len(line)):]
	if len(args) == 1 {
		switch args[0] {
		case "-h", "-help", "--help", "help":
			u.help(stdout, name)
			return "", 0, true
		case "-version", "--version", "version":
			fmt.Fprintln(stdout, name, version.Get())
			return "", 0, true
		}
	}
	argument, err := u.argument(args)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return "", ExitUsage, true
	}
	return argument, 0, false
}

func (u Usage) argument(args []string) (string, error) {
	known := append([]string{"--help", "--version"}, u.Arguments...)
	switch {
	case len(u.Arguments) == 0 && len(args) == 0:
		return "", nil
	case len(args) == 0:
		return "", fmt.Errorf("one of these is needed: %s; %w", strings.Join(u.Arguments, ", "), errUsage)
	case len(args) == 1 && slices.Contains(u.Arguments, args[0]):
		return args[0], nil
	}
	i := slices.IndexFunc(args, func(a string) bool { return !slices.Contains(known, a) })
	if i < 0 {
		return "", fmt.Errorf("%d arguments are too many, one at a time; %w", len(args), errUsage)
	}
	wrong := args[i]
	if name, value, found := strings.Cut(strings.TrimLeft(wrong, "-"), "="); found || strings.HasPrefix(wrong, "-") {
		setting := strings.ReplaceAll(strings.ToUpper(name), "-", "_")
		if u.has(setting) {
			return "", fmt.Errorf("settings are environment variables: set %s=%s instead of the argument %q; %w",
				setting, value, wrong, errUsage)
		}
	}
	if near := job.Nearest(wrong, known); near != "" {
		return "", fmt.Errorf("unknown argument %q; did you mean %s? %w", wrong, near, errUsage)
	}
	return "", fmt.Errorf("unknown argument %q; settings are environment variables, %w", wrong, errUsage)
}

func (u Usage) has(setting string) bool {
	return slices.ContainsFunc(u.list(), func(p env.FieldParams) bool { return p.Key == setting })
}

func (u Usage) help(w io.Writer, name string) {
	usage := name
	if len(u.Arguments) > 0 {
		usage += " " + strings.Join(u.Arguments, " | ")
	}
	fmt.Fprintf(w, "%s\n\nUsage: %s\n       %s --help | --version\n", u.Summary, usage, name)
	list := u.list()
	if len(list) == 0 {
		return
	}
	fmt.Fprint(w, "\nSettings are environment variables, with these defaults (docs/configuration.md says what each is "+
		"for):\n\n")
	for _, p := range list {
		line := "  " + p.Key + "=" + p.DefaultValue
		if p.Required {
			line += "(required)"
		}
		fmt.Fprintln(w, line)
	}
}

// list returns the settings by name, each once.
func (u Usage) list() []env.FieldParams {
	var list []env.FieldParams
	for _, settings := range u.Settings {
		if reflect.TypeOf(settings).Kind() != reflect.Pointer {
			continue
		}
		fields, err := env.GetFieldParams(settings)
		if err == nil {
			list = append(list, fields...)
		}
	}
	list = slices.DeleteFunc(list, func(p env.FieldParams) bool { return p.Key == "" })
	slices.SortFunc(list, func(a, b env.FieldParams) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(list, func(a, b env.FieldParams) bool { return a.Key == b.Key })
}

func commandName(line []string, info *debug.BuildInfo) string {
	if info != nil && strings.Contains(info.Path, "/cmd/") {
		return path.Base(info.Path)
	}
	if len(line) == 0 {
		return "command"
	}
	return path.Base(line[0])
}
