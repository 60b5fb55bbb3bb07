// Package backoff says how long to wait between tries of something that fails, and waits.
package backoff

import (
	"context"
	"time"
)

// Exponential returns the pause after so many tries, 1 or more: first, twice that, and so on up to
// most.
func Exponential(first, most time.Duration, tries int) time.Duration {
	pause := min(first, most)
	for n := 1; n < tries && pause > 0 && pause < most; n++ {
		pause += min(pause, most-pause)
	}
	return pause
}

// Wait reports whether a pause was over before ctx was.
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
