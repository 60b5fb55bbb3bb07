package client

import (
	"context"
	"errors"
	"net/http"

	"go-job-orchestrator/shared/job"
)

// JobToken returns the token of a job, which opens its files where nobody has a key. It is empty if
// the server does not give it to this caller, whose own credentials may open the files then.
func (c *Client) JobToken(ctx context.Context, id job.ID) (string, error) {
	var answer struct{ Token string }
	_, err := c.JSON(ctx, Call{Method: http.MethodGet, Path: "/api/v1/jobs/" + string(id) + "/token"}, &answer)
	var refused *Error
	if errors.As(err, &refused) && (refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden) {
		return "", nil
	}
	return answer.Token, err
}
