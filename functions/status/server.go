package status

import (
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/secret"
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
	// Profiles are those that the caller may use, and Secrets the names of the operator's secrets that
	// the caller may use.
	Profiles []profile.Listed `json:"profiles,omitempty"`
	Secrets  []string         `json:"secrets,omitempty"`
	// MaxConcurrentJobs is how many jobs run at a time, where that is known.
	MaxConcurrentJobs int    `json:"maxConcurrentJobs,omitempty"`
	Limits            limits `json:"limits"`
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

// server answers with facts about the server. Without a caller it does not read the bucket.
func (f *Function) server(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	v := version.Get()
	secrets, err := f.usable(r)
	if err != nil {
		return err
	}
	slots := 0
	if q, known := f.queue.(interface{ MaxConcurrent() int }); known {
		slots = q.MaxConcurrent()
	}
	caller, _ := access.From(r.Context()) // without a role no profile can be used
	api.WriteJSON(w, http.StatusOK, server{
		Version: v.Version, Commit: v.Commit, Date: v.Date, Go: v.Go, Auth: f.login, Runtimes: f.runtimes,
		Profiles: f.profiles.Current().List(caller.Role), Secrets: secrets,
		MaxConcurrentJobs: slots,
		Limits: limits{
			ArgumentBytes: job.MaxArgBytes, ArgumentsAndEnvBytes: job.MaxExecBytes,
			TimeoutSeconds: job.MaxSeconds, Retries: job.MaxRetries,
			FileNameBytes: job.MaxNameBytes, OutputNameBytes: job.MaxOutputNameBytes,
		},
	})
	return nil
}

// usable returns the names of the operator's secrets that the caller may use. Without a caller
// there are none.
func (f *Function) usable(r *http.Request) ([]string, error) {
	c, called := access.From(r.Context())
	if !called || !c.Role.Allows(access.User) {
		return nil, nil
	}
	entries, err := f.secrets.Entries(r.Context())
	if err != nil {
		return nil, err
	}
	return secret.Allowed(entries, c.Role), nil
}
