package settings

import (
	"path/filepath"

	"go-job-orchestrator/shared/job"
)

// maxServers bounds for how many servers the last job is noted.
const maxServers = 50

// lastJob is the job that was submitted last to a server.
type lastJob struct {
	Server string `yaml:"server"`
	Job    job.ID `yaml:"job"`
}

// state is what gojob notes for itself. The server that was used last comes first.
type state struct {
	Last []lastJob `yaml:"last"`
}

func stateFile(d Dirs) string { return filepath.Join(d.State, "state.yaml") }

// Last returns the job that was submitted last from here to a server, or "".
func Last(d Dirs, server string) (job.ID, error) {
	var s state
	if _, err := load(stateFile(d), &s); err != nil {
		return "", err
	}
	for _, l := range s.Last {
		if l.Server == server {
			return l.Job, nil
		}
	}
	return "", nil
}

// Remember notes the job that was submitted last to a server. It replaces a file that cannot be
// read.
func Remember(d Dirs, server string, id job.ID) error {
	return locked(d.State, func() error {
		var s state
		_, _ = load(stateFile(d), &s)
		list := []lastJob{{server, id}}
		for _, l := range s.Last {
			if l.Server != server && len(list) < maxServers {
				list = append(list, l)
			}
		}
		return save(stateFile(d), state{list})
	})
}
