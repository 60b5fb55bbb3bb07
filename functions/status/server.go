package status

import (
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/version"
)

// server is what GET /api/v1/server answers.
type server struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	Go      string `json:"go"`
	// Auth is what command lines and pages need to get credentials for their users.
	Auth access.Login `json:"auth"`
	// Runtimes is left out where the function does not know what runs jobs.
	Runtimes []backend.Runtime `json:"runtimes,omitempty"`
	// Profiles are those that the caller may use.
	Profiles []profile.Listed `json:"profiles,omitempty"`
	Limits   limits           `json:"limits"`
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

// server answers with what the server is. It reads nothing from the bucket for that.
func (f *Function) server(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	v := version.Get()
	caller, _ := access.From(r.Context()) // without a role there is no profile to use
	api.WriteJSON(w, http.StatusOK, server{
		Version: v.Version, Commit: v.Commit, Date: v.Date, Go: v.Go, Auth: f.login, Runtimes: f.runtimes,
		Profiles: f.profiles.Current().List(caller.Role),
		Limits: limits{
			ArgumentBytes: job.MaxArgBytes, ArgumentsAndEnvBytes: job.MaxExecBytes,
			TimeoutSeconds: job.MaxSeconds, Retries: job.MaxRetries,
			FileNameBytes: job.MaxNameBytes, OutputNameBytes: job.MaxOutputNameBytes,
		},
	})
	return nil
}
