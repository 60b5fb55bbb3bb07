package executor

import (
	"maps"
	"slices"

	"go-job-orchestrator/shared/job"
)

// Environment is all the variables a program gets, given where it sees its files and its folder for temporary
// ones. Nothing of our own process is in it.
func Environment(index *job.Index, files, temp, searchPath string) []string {
	env := []string{
		"PATH=" + searchPath, "HOME=" + files, "LANG=C.UTF-8", "TMPDIR=" + temp,
		"JOB_ID=" + string(index.JobID), "OUTPUT_DIR=" + files + "/" + job.ResultsDir,
	}
	for _, name := range slices.Sorted(maps.Keys(index.Env)) {
		env = append(env, name+"="+index.Env[name])
	}
	return env
}
