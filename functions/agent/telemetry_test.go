package agent

import (
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

// TestTelemetry has two pods report when the parts of their attempts were made, and tell the program
// of the span of its attempt. Without a collector they report nothing more than ever.
func TestTelemetry(t *testing.T) {
	const script = `echo "$TRACEPARENT"; test "$JOB_ATTEMPT" = 2`
	w := newFixture(t, script, retries(1), func(i *job.Index) { i.Telemetry = &job.Telemetry{Source: job.ByForm} })
	w.pod("one").run()
	w.pod("two").run()
	end := w.terminal(job.Succeeded, job.ReasonCompleted)
	want := ""
	for n, a := range end.Attempts {
		want += w.index.In(job.SpanAttempt, n+1).Parent + "\n"
		if a.Timing == nil {
			t.Fatalf("attempt %d has no times", n+1)
		}
		times := []time.Time{w.index.CreatedAt, a.Timing.FetchStartedAt, a.Timing.FetchFinishedAt, a.Timing.ExecStartedAt,
			a.Timing.ExecFinishedAt}
		for i := range times[1:] {
			if times[i+1].Before(times[i]) {
				t.Errorf("attempt %d: time %d is before the one before it: %+v", n+1, i+1, a.Timing)
			}
		}
	}
	if last := end.Attempts[1].Timing; last.CollectFinishedAt.Before(last.ExecFinishedAt) {
		t.Errorf("the outputs were stored at %s", last.CollectFinishedAt)
	}
	if got := w.log(); got != want {
		t.Errorf("the programs found %q, want %q", got, want)
	}
	w = newFixture(t, `echo "x$TRACEPARENT"`)
	w.pod("one").run()
	if end := w.terminal(job.Succeeded, job.ReasonCompleted); end.Attempts[0].Timing != nil || w.log() != "x\n" {
		t.Errorf("without a collector: %+v, %q", end.Attempts[0].Timing, w.log())
	}
}
