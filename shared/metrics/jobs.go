package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// Jobs counts the jobs that this process accepts and runs.
type Jobs struct {
	runtimes            []string
	submitted, finished *prometheus.CounterVec
	attempts            *prometheus.CounterVec
	queued, ran         prometheus.Histogram
}

var _ ledger.Observer = (*Jobs)(nil)

// NewJobs adds the metrics of jobs to a registry. A runtime that is not among those given counts as
// other.
func NewJobs(to *Registry, runtimes []string) *Jobs {
	j := &Jobs{
		runtimes:  runtimes,
		submitted: prometheus.NewCounterVec(prometheus.CounterOpts(jobsSubmitted), []string{"runtime", "source"}),
		finished:  prometheus.NewCounterVec(prometheus.CounterOpts(jobsFinished), []string{"runtime", "phase", "reason"}),
		attempts:  prometheus.NewCounterVec(prometheus.CounterOpts(attempts), []string{"reason"}),
		queued: prometheus.NewHistogram(queueSeconds.histogram(
			.1, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 6*3600)),
		ran: prometheus.NewHistogram(runSeconds.histogram(
			.1, .5, 1, 5, 15, 60, 300, 900, 3600, 6*3600, 24*3600)),
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

// Submitted counts a job that was accepted.
func (j *Jobs) Submitted(runtime string, by job.Way) {
	way := string(by)
	if !slices.Contains(job.Ways(), by) {
		way = other
	}
	j.submitted.WithLabelValues(j.runtime(runtime), way).Inc()
}

// Started implements ledger.Observer.
func (j *Jobs) Started(waited time.Duration) { j.queued.Observe(waited.Seconds()) }

// AttemptEnded implements ledger.Observer.
func (j *Jobs) AttemptEnded(reason job.Reason) { j.attempts.WithLabelValues(known(reason)).Inc() }

// Ended implements ledger.Observer. A job without an attempt counts, but has no time.
func (j *Jobs) Ended(runtime string, phase job.Phase, reason job.Reason, ran time.Duration) {
	word := known(reason)
	switch phase {
	case job.Failed:
	case job.Succeeded:
		word = string(job.ReasonCompleted)
	case job.Cancelled:
		word = string(job.ReasonCancelled)
	default:
		return // it has not ended
	}
	j.finished.WithLabelValues(j.runtime(runtime), string(phase), word).Inc()
	if ran > 0 {
		j.ran.Observe(ran.Seconds())
	}
}

// other stands for a value that is not in its table.
const other = "other"

func (j *Jobs) runtime(name string) string {
	if slices.Contains(j.runtimes, name) {
		return name
	}
	return other
}

// known returns a reason that jobs and attempts end for, and other for one that it does not know,
// since those of Kubernetes are passed on.
func known(r job.Reason) string {
	switch r {
	case job.ReasonCompleted, job.ReasonError, job.ReasonCancelled, job.ReasonDeadlineExceeded, job.ReasonOOMKilled,
		job.ReasonEvicted, job.ReasonCannotRun, job.ReasonFetchFailed, job.ReasonOutputsLost, job.ReasonInterrupted,
		job.ReasonStartFailed, job.ReasonDependenciesFailed, job.ReasonPullBackOff, job.ReasonUnschedulable,
		job.ReasonQuotaExceeded, job.ReasonFailedCreate, job.ReasonNodeLost, job.ReasonPreempted:
		return string(r)
	}
	return other
}
