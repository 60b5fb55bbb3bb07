// Package backoff computes how long to wait between tries of something that fails, and waits.
package backoff

import (
	"context"
	"time"
)

// Exponential returns the pause after the given number of tries, which is 1 or more. The pause
// begins with first and doubles with each try, up to most.
func Exponential(first, most time.Duration, tries int) time.Duration {
	pause := min(first, most)
	for n := 1; n < tries && pause > 0 && pause < most; n++ {
		pause += min(pause, most-pause)
	}
	return pause
}

// Wait waits for a pause, and reports whether the pause ended before ctx did.
func Wait(ctx context.Context, pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
