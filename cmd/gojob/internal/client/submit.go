package client

import (
	"context"
	"encoding/json"
	"net/http"

	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/shared/job"
)

// Accepted is the answer to a submit.
type Accepted struct {
	JobID    job.ID        `json:"jobID"`
	Token    string        `json:"token"`
	Phase    job.Phase     `json:"phase"`
	Inferred *job.Inferred `json:"inferred"`
	Warnings []string      `json:"warnings"`
	// Raw is the answer as it was sent.
	Raw json.RawMessage `json:"-"`
}

// SubmitOptions say how a form is sent.
type SubmitOptions struct {
	// Key is the Idempotency-Key, the same for each try.
	Key string
	// Progress is called with the number of bytes that were sent, from the start at each try. It may
	// be nil.
	Progress func(sent int64)
}

// Submit sends a form to a path that makes a job, such as /api/v1/jobs.
func (c *Client) Submit(ctx context.Context, path string, f *form.Form, o SubmitOptions) (Accepted, error) {
	body, kind := f.Body(ctx)
	defer body.Close()
	var accepted Accepted
	raw, err := c.JSON(ctx, Call{Method: http.MethodPost, Path: path, Body: body, Header: http.Header{
		"Content-Type": {kind}, "Idempotency-Key": {o.Key},
	}}, &accepted)
	accepted.Raw = raw
	return accepted, err
}
