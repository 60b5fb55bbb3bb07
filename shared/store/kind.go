package store

import (
	"context"
	"errors"
	"fmt"

	"go-job-orchestrator/shared/job"
)

// kind wraps an error of the bucket in the kind that callers act on.
func (s *Store) kind(err error, verb, key string) error {
	return kindOf(err, s.driver.kindOf(err), verb, key)
}

func kindOf(err, kind error, verb, key string) error {
	switch {
	case isKnown(err) || kind == nil:
		return fmt.Errorf("%s %s: %w", verb, key, err)
	case errors.Is(kind, job.ErrNotFound), errors.Is(kind, job.ErrExists):
		return fmt.Errorf("%s %s: %w", verb, key, kind)
	}
	return fmt.Errorf("%s %s: %w: %w", verb, key, kind, err)
}

// isKnown reports whether err, such as one of the reader given to Put, has its kind already.
func isKnown(err error) bool {
	for _, known := range []error{job.ErrInvalid, job.ErrTooLarge, job.ErrUnavailable, job.ErrExhausted, context.Canceled,
		context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
