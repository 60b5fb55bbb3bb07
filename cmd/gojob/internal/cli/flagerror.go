package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"go-job-orchestrator/shared/job"
)

// flagError is the usage error of a flag that cannot be parsed, with what was probably meant.
func flagError(command *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return &usageError{err}
	}
	var names []string
	all := func(f *pflag.Flag) { names = append(names, f.Name) }
	command.LocalFlags().VisitAll(all)
	command.InheritedFlags().VisitAll(all)
	name := unknown.GetSpecifiedName()
	// What users of other command lines type.
	others := map[string]string{
		"mem": "memory", "ram": "memory", "cpus": "cpu", "timelimit": "timeout", "time": "timeout", "deadline": "timeout",
		"environment": "env", "variable": "env", "labels": "label", "tag": "label", "jobname": "name", "output": "out",
		"outputs": "out", "outdir": "out", "results": "out", "async": "detach", "nowait": "detach", "background": "detach",
		"silent": "quiet", "input": "stdin", "files": "file", "upload": "file", "command": "entrypoint",
		"partition": "queue", "container": "image", "server": "url", "address": "url", "host": "url", "lines": "tail",
	}
	for word, meant := range others {
		if command.Flag(meant) == nil {
			delete(others, word)
		}
	}
	if meant := job.Meant(name, names, others); meant != "" {
		return &usageError{fmt.Errorf("unknown flag: --%s%s", name, dashed(meant))}
	}
	return &usageError{err}
}

// dashed puts the dashes of a flag into a suggestion.
func dashed(meant string) string {
	const words = "; did you mean "
	return words + "--" + meant[len(words):]
}

// misfits finds flags that do not go together.
func (f *runFlags) misfits(flags *pflag.FlagSet) error {
	if f.detach {
		for _, name := range []string{"out", "cancel-on-exit", "unreachable-timeout"} {
			if flags.Changed(name) {
				return usagef("--%s does not go with --detach, which does not wait for the job", name)
			}
		}
	}
	return nil
}
