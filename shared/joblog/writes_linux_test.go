package joblog_test

import (
	"context"
	"testing"

	"go-job-orchestrator/shared/joblog"
)

// TestWrites demands that a write is told of by the kernel, of either stream.
func TestWrites(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := joblog.Writes(ctx, p.files.Order)
	for range 3 {
		for _, s := range streams() {
			p.write(s, []byte("x\n"))
			<-written // or the test does not end
		}
	}
}
