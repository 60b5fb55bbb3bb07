package admission

import (
	"net/http"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/longpoll"
	"go-job-orchestrator/shared/token"
)

// accepted is the answer to a submit. Job is there when the answer was to wait.
type accepted struct {
	JobID     job.ID    `json:"jobID"`
	JobName   string    `json:"jobName"`
	Namespace string    `json:"namespace"`
	Token     string    `json:"token"`
	Phase     job.Phase `json:"phase"`
	CreatedAt time.Time `json:"createdAt"`
	// Inferred is what was not sent, but followed from the files.
	Inferred *job.Inferred `json:"inferred,omitempty"`
	Job      *job.Status   `json:"job,omitempty"`
	// Warnings says what was accepted and may not do what its sender expects.
	Warnings []string `json:"warnings,omitempty"`
}

// Answer answers a request with the job that was accepted for it, and the job's token: at once, or
// once the job is over when the client would rather wait.
func (c *Controller) Answer(w http.ResponseWriter, r *http.Request, index *job.Index) {
	a := accepted{
		JobID: index.JobID, JobName: index.JobName, Namespace: index.Namespace,
		Token: c.keys.Derive(token.User, index.JobID), Phase: job.Pending, CreatedAt: index.CreatedAt,
		Inferred: index.Inferred, Warnings: index.Warnings,
	}
	if wait, asked := longpoll.Preferred(r.Header); asked {
		w.Header().Set(longpoll.Applied(wait))
		changed, leave := c.records.Watch(index.JobID)
		defer leave()
		// The job is accepted whatever comes now: an answer without its state is better than none.
		if s, err := longpoll.Until(r.Context(), wait, c.records.Status, index.JobID, changed); err == nil {
			a.Job, a.Phase = s, s.Phase
		}
	}
	w.Header().Set("Location", "/api/v1/jobs/"+string(index.JobID))
	api.WriteJSON(w, http.StatusCreated, a)
}

// Trace is the trace that a request belongs to.
func Trace(r *http.Request) job.Trace {
	return job.NewTrace(r.Header.Get("traceparent"), r.Header.Get("tracestate"))
}
