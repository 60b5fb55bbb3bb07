package process

import (
	"testing"
	"time"

	"go-job-orchestrator/shared/joblog"
)

// TestRest has a log that nobody follows, or very many do, cost as much as in any other bucket.
func TestRest(t *testing.T) {
	for followers, want := range map[int]time.Duration{0: joblog.Interval, 1: followerRest, 10: 10 * followerRest,
		1000: joblog.Interval} {
		if got := restFor(followers); got != want {
			t.Errorf("%d followers: %s, want %s", followers, got, want)
		}
	}
}
