package access

import (
	"context"
	"fmt"

	"go-job-orchestrator/shared/job"
)

// ErrForeign is the error for what belongs to another owner. It is answered like one for what does
// not exist.
var ErrForeign = fmt.Errorf("it belongs to another owner: %w", job.ErrNotFound)

// Foreign returns the error for what belongs to another owner that is answered exactly like err, which
// is the one for what does not exist.
func Foreign(err error) error { return fmt.Errorf("%w (%w)", err, ErrForeign) }

// Require returns the caller if they have the role. Without a caller the error is of kind
// job.ErrUnauthorized, and of kind job.ErrForbidden for one whose role does not do.
func Require(ctx context.Context, role Role) (Caller, error) {
	c, known := From(ctx)
	if !known {
		return Caller{}, job.Refuse(job.ErrUnauthorized, "", "this call needs a key: Authorization: Bearer <key>")
	}
	if !c.Role.Allows(role) {
		return Caller{}, job.Refuse(job.ErrForbidden, "", fmt.Sprintf(
			"this call needs the role %s; %s has the role %s", role, c.Owner, c.Role))
	}
	return c, nil
}
