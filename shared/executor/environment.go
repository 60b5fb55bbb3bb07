package executor

import (
	"maps"
	"slices"
	"strconv"

	"go-job-orchestrator/shared/job"
)

// Environment is all the variables a program gets in an attempt, given where it sees its files and
// its folder for temporary ones. Nothing of our own process is in it.
func Environment(index *job.Index, attempt int, files, temp, searchPath string) []string {
	env := []string{
		"PATH=" + searchPath, "HOME=" + files, "LANG=C.UTF-8", "TMPDIR=" + temp,
		"JOB_ID=" + string(index.JobID), "JOB_ATTEMPT=" + strconv.Itoa(attempt), "OUTPUT_DIR=" + files + "/" + job.ResultsDir,
	}
	more := index.Trace.Variables()
	maps.Copy(more, index.Env) // who names a trace of their own means it
	for _, name := range slices.Sorted(maps.Keys(more)) {
		env = append(env, name+"="+more[name])
	}
	return env
}
