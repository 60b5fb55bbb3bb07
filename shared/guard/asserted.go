package guard

import (
	"net/http"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// Asserted returns an Identify that believes the gateway's assertion.
func Asserted(keys token.Keys, now func() time.Time) Identify {
	return func(r *http.Request) (*http.Request, error) {
		c, found, err := access.ReadAssertion(r, keys, now())
		if err != nil {
			return nil, job.Refuse(job.ErrUnauthorized, "", err.Error()+"; send the request to the public URL")
		}
		if !found {
			return r, nil
		}
		return r.WithContext(access.With(r.Context(), c)), nil
	}
}
