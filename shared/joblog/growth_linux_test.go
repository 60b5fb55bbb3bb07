package joblog_test

import (
	"context"
	"os"
	"testing"

	"go-job-orchestrator/shared/joblog"
)

// TestGrowth demands that a write is told of by the kernel: of either stream, and also of a file whose name is gone.
func TestGrowth(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := os.Remove(p.files[joblog.Stdout].Name()); err != nil {
		t.Fatal(err)
	}
	grown := joblog.Growth(ctx, p.files[joblog.Stdout], p.files[joblog.Stderr])
	for range 3 {
		for _, s := range streams() {
			p.write(s, []byte("x\n"))
			<-grown // or the test does not end
		}
	}
}
