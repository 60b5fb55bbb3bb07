package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"go-job-orchestrator/shared/job"
)

// maxProblem bounds what is read of an error's body.
const maxProblem = 8 << 10

// noSuchPath begins the answer of a server that is older than this agent: during an upgrade the
// newer one is about to come. It does not mean that the job is gone.
const noSuchPath = "There is no such path"

// answer turns an error status into an error with the kind that our side acts on.
func answer(resp *http.Response) error {
	defer resp.Body.Close()
	var problem struct{ Detail string }
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&problem) // the status says enough
	err := fmt.Errorf("%s: %s", resp.Status, problem.Detail)
	if resp.StatusCode == http.StatusNotFound && strings.HasPrefix(problem.Detail, noSuchPath) {
		return fmt.Errorf("%w: %w", job.ErrUnavailable, err)
	}
	kinds := map[int]error{
		http.StatusUnauthorized: job.ErrUnauthorized, http.StatusForbidden: job.ErrForbidden,
		http.StatusNotFound: job.ErrNotFound,
		http.StatusConflict: job.ErrConflict, http.StatusUnprocessableEntity: job.ErrInvalid,
		http.StatusRequestEntityTooLarge: job.ErrTooLarge, http.StatusInsufficientStorage: job.ErrExhausted,
		http.StatusTooManyRequests: job.ErrUnavailable,
	}
	kind, known := kinds[resp.StatusCode]
	if !known && resp.StatusCode >= http.StatusInternalServerError {
		kind, known = job.ErrUnavailable, true
	}
	if !known {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}
