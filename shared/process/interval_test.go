package process

import (
	"testing"
	"time"

	"go-job-orchestrator/shared/joblog"
)

// TestMinShipInterval has a log that nobody follows, or very many do, cost as much as in any other
// bucket.
func TestMinShipInterval(t *testing.T) {
	for followers, want := range map[int]time.Duration{
		0: joblog.Interval, 1: intervalPerFollower, 10: 10 * intervalPerFollower, 1000: joblog.Interval,
	} {
		if got := minShipInterval(followers); got != want {
			t.Errorf("%d followers: %s, want %s", followers, got, want)
		}
	}
}
