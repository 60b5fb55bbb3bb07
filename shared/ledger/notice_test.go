package ledger_test

import (
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// TestTraceOfEvents says which span events carry: that of the job where it has one, so that a job that
// an event starts is in the same trace.
func TestTraceOfEvents(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	index := &job.Index{JobID: "fe6aa1b2c3d4000102030405060708ff", Trace: job.NewTrace(parent, "a=b")}
	if got := ledger.SubmitNotice(index).Trace; got != index.Trace {
		t.Errorf("without a collector: %+v", got)
	}
	index.Telemetry = &job.Telemetry{}
	if got := ledger.SubmitNotice(index).Trace; got != index.In(job.SpanRun, 0) || got.Parent[:35] != parent[:35] ||
		got.Parent == parent || got.State != "a=b" {
		t.Errorf("with a collector: %+v", got)
	}
}
