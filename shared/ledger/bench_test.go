package ledger_test

import (
	"context"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// quickSink takes every notice at once.
type quickSink struct{ records *ledger.Ledger }

func (q quickSink) Publish(ctx context.Context, n job.Notice) {
	_ = q.records.Published(ctx, n.Status.JobID, n.Step)
}

// BenchmarkSubmit accepts jobs in a directory, without and with a sink. What it costs more with one
// is the price of the outbox.
func BenchmarkSubmit(b *testing.B) {
	for name, sink := range map[string]bool{"silent": false, "published": true} {
		b.Run(name, func(b *testing.B) {
			w := newFixture(b)
			q := quickSink{w.Ledger}
			if sink {
				w.Ledger = w.Publishing(q)
			}
			for b.Loop() {
				index := w.accept(w.newIndex(nil))
				if sink {
					q.Publish(b.Context(), ledger.SubmitNotice(index))
				}
			}
		})
	}
}

// BenchmarkLife is the rest of a job's life: its start, its end, and its removal.
func BenchmarkLife(b *testing.B) {
	for name, sink := range map[string]bool{"silent": false, "published": true} {
		b.Run(name, func(b *testing.B) {
			w := newFixture(b)
			if sink {
				w.Ledger = w.Publishing(quickSink{w.Ledger})
			}
			for b.Loop() {
				b.StopTimer()
				index := w.accept(w.newIndex(nil))
				b.StartTimer()
				w.start(index)
				w.finish(index, job.Succeeded)
				w.must(w.Remove(b.Context(), index.JobID))
			}
		})
	}
}
