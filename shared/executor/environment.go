package executor

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Environ returns all variables of the command. A secret takes the place of a variable of the same
// name.
func (c *Command) Environ() []string {
	if len(c.Secrets) == 0 {
		return c.Env
	}
	env := slices.DeleteFunc(slices.Clone(c.Env), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		_, secret := c.Secrets[name]
		return secret
	})
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		env = append(env, name+"="+c.Secrets[name])
	}
	return env
}

// WithSecrets gives a command secrets, which are also masked in its log.
func (c *Command) WithSecrets(values map[string]string) {
	c.Secrets, c.Mask = values, slices.Collect(maps.Values(values))
}

// Environment is all the variables a program gets in an attempt, given where it sees its files and
// its folder for temporary ones. Nothing of our own process is in it.
func Environment(index *job.Index, attempt int, files, temp, searchPath string) []string {
	env := []string{
		"PATH=" + searchPath, "HOME=" + files, "LANG=C.UTF-8", "TMPDIR=" + temp,
		"JOB_ID=" + string(index.JobID), "JOB_ATTEMPT=" + strconv.Itoa(attempt), "OUTPUT_DIR=" + files + "/" + job.ResultsDir,
	}
	more := index.In(job.SpanAttempt, attempt).Variables()
	maps.Copy(more, index.Env) // who names a trace of their own means it
	for _, name := range slices.Sorted(maps.Keys(more)) {
		env = append(env, name+"="+more[name])
	}
	return env
}
