package joblog_test

import (
	"context"
	"testing"

	"go-job-orchestrator/shared/joblog"
)

// TestGrowth demands that a write is told of by the kernel, of either stream.
func TestGrowth(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	grown := joblog.Growth(ctx, p.files.Order)
	for range 3 {
		for _, s := range streams() {
			p.write(s, []byte("x\n"))
			<-grown // or the test does not end
		}
	}
}
