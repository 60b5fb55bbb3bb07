package access

import (
	"context"
	"fmt"

	"go-job-orchestrator/shared/job"
)

// Listed returns whose jobs, or templates, a list is to show to the caller who asks for those of
// owner. An empty owner asks for all that the caller sees; an empty answer stands for everybody's.
// Only an admin may ask for somebody else's.
func Listed(ctx context.Context, owner string) (string, error) {
	c, err := Require(ctx, Read)
	switch {
	case err != nil:
		return "", err
	case c.Role == Admin:
		return owner, nil
	case owner != "" && owner != c.Owner:
		return "", job.Refuse(job.ErrForbidden, "owner", fmt.Sprintf(
			"must be left out, or be %s: only an admin may ask for another owner, and you have the role %s", c.Owner, c.Role))
	}
	return c.Owner, nil
}
