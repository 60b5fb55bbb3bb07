package status

import (
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/version"
)

// Runtime is one that jobs can name.
type Runtime struct {
	Name string `json:"name"`
	// Version is that of the interpreter on this machine; empty: each job's image has its own.
	Version string `json:"version,omitempty"`
}

// server is what GET /api/v1/server answers.
type server struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	Go      string `json:"go"`
	// Runtimes is left out where the function does not know what runs jobs.
	Runtimes []Runtime `json:"runtimes,omitempty"`
	Limits   limits    `json:"limits"`
}

// limits are those of every job, which no setting changes.
type limits struct {
	ArgumentBytes        int `json:"argumentBytes"`
	ArgumentsAndEnvBytes int `json:"argumentsAndEnvBytes"`
	TimeoutSeconds       int `json:"timeoutSeconds"`
	Retries              int `json:"retries"`
	FileNameBytes        int `json:"fileNameBytes"`
	OutputNameBytes      int `json:"outputNameBytes"`
}

// SetRuntimes says which runtimes there are. It is called before the function answers.
func (f *Function) SetRuntimes(list []Runtime) { f.runtimes = list }

// PodRuntimes are those of a server that runs jobs in pods: all that there are, since images bring
// them.
func PodRuntimes() []Runtime {
	all := runtimes.All()
	list := make([]Runtime, len(all))
	for i, r := range all {
		list[i] = Runtime{Name: r.Name}
	}
	return list
}

// MachineRuntimes are those that were found on this machine.
func MachineRuntimes(m *runtimes.Machine) []Runtime {
	var list []Runtime
	for _, name := range m.Names() {
		if found, err := m.Lookup(name); err == nil {
			list = append(list, Runtime{Name: name, Version: found.Version})
		}
	}
	return list
}

// server answers with what the server is. It opens nothing for that.
func (f *Function) server(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
	v := version.Get()
	api.WriteJSON(w, http.StatusOK, server{
		Version: v.Version, Commit: v.Commit, Date: v.Date, Go: v.Go, Runtimes: f.runtimes,
		Limits: limits{
			ArgumentBytes: job.MaxArgBytes, ArgumentsAndEnvBytes: job.MaxExecBytes,
			TimeoutSeconds: job.MaxSeconds, Retries: job.MaxRetries,
			FileNameBytes: job.MaxNameBytes, OutputNameBytes: job.MaxOutputNameBytes,
		},
	})
	return nil
}
