package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"go-job-orchestrator/shared/instruments"
	"go-job-orchestrator/shared/job"
)

// Jobs counts the jobs that this process accepts and runs.
type Jobs struct {
	runtimes            []string
	submitted, finished *prometheus.CounterVec
	attempts            *prometheus.CounterVec
	queued, ran         prometheus.Histogram
}

// NewJobs adds the metrics of jobs to a registry. A runtime that is not among those given counts as
// other.
func NewJobs(to *Registry, runtimes []string) *Jobs {
	j := &Jobs{
		runtimes:  runtimes,
		submitted: counter(instruments.JobsSubmitted(), "runtime", "source"),
		finished:  counter(instruments.JobsFinished(), "runtime", "phase", "reason"),
		attempts:  counter(instruments.Attempts(), "reason"),
		queued:    prometheus.NewHistogram(histogramOf(instruments.QueueSeconds())),
		ran:       prometheus.NewHistogram(histogramOf(instruments.RunSeconds())),
	}
	to.registry.MustRegister(j.submitted, j.finished, j.attempts, j.queued, j.ran)
	// A rate needs a value from before the first job.
	for _, way := range job.Ways() {
		for _, name := range runtimes {
			j.submitted.WithLabelValues(name, string(way))
		}
	}
	return j
}

func counter(i instruments.Instrument, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts(of(i)), labels)
}

// Submitted counts a job that was accepted.
func (j *Jobs) Submitted(runtime string, by job.Way) {
	j.submitted.WithLabelValues(instruments.Runtime(j.runtimes, runtime), instruments.Source(by)).Inc()
}

// Started is called for the first attempt of a job, as ledger.Observer says.
func (j *Jobs) Started(waited time.Duration) { j.queued.Observe(waited.Seconds()) }

// AttemptEnded is called for the end of each attempt.
func (j *Jobs) AttemptEnded(reason job.Reason) {
	j.attempts.WithLabelValues(instruments.Reason(reason)).Inc()
}

// Ended is called for the end of a job. A job without an attempt counts, but has no time.
func (j *Jobs) Ended(runtime string, phase job.Phase, reason job.Reason, ran time.Duration) {
	word, over := instruments.End(phase, reason)
	if !over {
		return
	}
	j.finished.WithLabelValues(instruments.Runtime(j.runtimes, runtime), string(phase), word).Inc()
	if ran > 0 {
		j.ran.Observe(ran.Seconds())
	}
}
