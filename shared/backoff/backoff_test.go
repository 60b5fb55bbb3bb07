package backoff_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/backoff"
)

func TestExponential(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		first, most time.Duration
		tries       int
		want        time.Duration
	}{
		{time.Second, time.Minute, 1, time.Second},
		{time.Second, time.Minute, 2, 2 * time.Second},
		{time.Second, time.Minute, 6, 32 * time.Second},
		{time.Second, time.Minute, 7, time.Minute},
		{time.Second, time.Minute, math.MaxInt, time.Minute},
		{time.Hour, time.Minute, 1, time.Minute},
		{time.Second, math.MaxInt64, 40, math.MaxInt64}, // no overflow
		{0, time.Minute, math.MaxInt, 0},
	} {
		if got := backoff.Exponential(test.first, test.most, test.tries); got != test.want {
			t.Errorf("Exponential(%s, %s, %d) = %s, want %s", test.first, test.most, test.tries, got, test.want)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if !backoff.Wait(t.Context(), time.Minute) || time.Since(begun) != time.Minute {
			t.Errorf("waited %s, want a minute", time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if backoff.Wait(ctx, time.Minute) || time.Since(begun) != time.Second {
			t.Errorf("waited %s, want until the context ended after a second", time.Since(begun))
		}
	})
}
