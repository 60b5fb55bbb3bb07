package process

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
)

// allowance is what a job's program gets by the settings and by its profile.
type allowance struct {
	processes, openFiles           int
	workspaceBytes, workspaceFiles int64 // 0: no limit
	readPaths                      []string
	env                            map[string]string // that the job's own variables replace
}

// allowance returns what a job's program gets now. A profile that does not exist gives nothing; see
// checkProfile.
func (r *runner) allowance(index *job.Index) allowance {
	s := r.settings
	a := allowance{
		processes: int(s.MaxProcesses), openFiles: int(s.MaxOpenFiles),
		workspaceBytes: int64(s.MaxWorkspace), workspaceFiles: int64(s.MaxWorkspaceFiles),
	}
	p := r.profiles.Current().Find(index.Profile)
	if p == nil {
		return a
	}
	if n := p.Process.MaxProcesses; n != nil {
		a.processes = int(*n)
	}
	if n := p.Process.MaxOpenFiles; n != nil {
		a.openFiles = int(*n)
	}
	if n := p.Process.MaxWorkspaceFiles; n != nil {
		a.workspaceFiles = *n
	}
	if text := p.Process.MaxWorkspaceBytes; text != "" {
		a.workspaceBytes, _ = job.Size(string(text)) // was checked
	}
	a.readPaths, a.env = p.Process.ReadPaths, p.Process.Env
	return a
}

// checkProfile returns an error if the job's profile does not exist any more.
func (r *runner) checkProfile(index *job.Index) error {
	if index.Profile != "" && r.profiles.Current().Find(index.Profile) == nil {
		return errors.New(profile.Gone(index.Profile))
	}
	return nil
}

// checkProfiles finds paths of profiles that would show a program what belongs to the server.
func (h *Host) checkProfiles(s *profile.Set) []job.Fault {
	var list []job.Fault
	for _, p := range s.All() {
		for i, path := range p.Process.ReadPaths {
			if err := h.Sandbox.CheckReadable(path); err != nil {
				list = append(list, job.Fault{
					Field: fmt.Sprintf("profiles.%s.process.readPaths[%d]", p.Name, i), Message: err.Error(),
				})
			}
		}
	}
	return list
}

// withDefaults returns the variables of a program with those of its profile that it does not have.
func withDefaults(env []string, defaults map[string]string) []string {
	set := map[string]bool{}
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		set[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if !set[name] {
			env = append(env, name+"="+defaults[name])
		}
	}
	return env
}
