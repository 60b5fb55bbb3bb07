// Package instruments is the table of the metrics about jobs: names, help texts, units, and the values
// that labels can have. The gateways show these metrics to Prometheus, and the reaper sends them to a
// collector, so the same dashboards and rules work with both.
package instruments

import (
	"slices"

	"go-job-orchestrator/shared/job"
)

// Instrument is the name and the help text of a metric, its unit in the words of UCUM, and for a
// histogram the upper bounds of its buckets.
type Instrument struct {
	Name, Help, Unit string
	Bounds           []float64
}

// JobsSubmitted counts accepted jobs, by runtime and source.
func JobsSubmitted() Instrument {
	return Instrument{Name: "gojob_jobs_submitted_total", Unit: "{job}",
		Help: "Jobs that were accepted, by runtime and by how they came in: form, template, event or rerun."}
}

// JobsFinished counts ended jobs, by runtime, phase and reason.
func JobsFinished() Instrument {
	return Instrument{Name: "gojob_jobs_finished_total", Unit: "{job}",
		Help: "Jobs that have ended, by runtime, phase and reason."}
}

// Attempts counts ended attempts, by reason.
func Attempts() Instrument {
	return Instrument{Name: "gojob_attempts_total", Unit: "{attempt}",
		Help: "Attempts that have ended, by reason. A job with retries can have several."}
}

// QueueSeconds is a histogram of how long jobs waited.
func QueueSeconds() Instrument {
	return Instrument{Name: "gojob_job_queue_seconds", Unit: "s",
		Help:   "Time from a job's acceptance to its first attempt, or to the installation of its packages.",
		Bounds: []float64{.1, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600}}
}

// RunSeconds is a histogram of how long jobs ran.
func RunSeconds() Instrument {
	return Instrument{Name: "gojob_job_run_seconds", Unit: "s",
		Help:   "Time from the begin of a job's first attempt to its end.",
		Bounds: []float64{.1, .5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600}}
}

// ReaperSuccess is the time of the reaper's last round without an error.
func ReaperSuccess() Instrument {
	return Instrument{Name: "gojob_reaper_last_success_timestamp_seconds", Unit: "s",
		Help: "Time of the last round of the reaper without an error, and of the start before the first."}
}

// BuildInfo is always 1.
func BuildInfo() Instrument {
	return Instrument{Name: "gojob_build_info",
		Help: "What the process was built from. The value is 1."}
}

// Jobs is the number of jobs that are kept, by phase.
func Jobs() Instrument {
	return Instrument{Name: "gojob_jobs", Unit: "{job}",
		Help: "Jobs that are kept, by phase."}
}

// QueueOldest is how long the job has waited that has waited for longest.
func QueueOldest() Instrument {
	return Instrument{Name: "gojob_queue_oldest_seconds", Unit: "s",
		Help: "How long the job has waited that has waited for longest; 0 if none waits."}
}

// NoticesOwed is the number of events that the sink has not taken.
func NoticesOwed() Instrument {
	return Instrument{Name: "gojob_notices_owed", Unit: "{event}",
		Help: "Events that the sink (K_SINK) has not taken yet."}
}

// StorageFree is how much of the storage is free.
func StorageFree() Instrument {
	return Instrument{Name: "gojob_storage_free_bytes", Unit: "By",
		Help: "Free bytes of the disk of STORAGE_DIR. A bucket has no such number."}
}

// CacheBytes is the size of the cached packages.
func CacheBytes() Instrument {
	return Instrument{Name: "gojob_dependency_cache_bytes", Unit: "By",
		Help: "Size of the cached packages of all owners."}
}

// CountedAt is when the records were counted last.
func CountedAt() Instrument {
	return Instrument{Name: "gojob_count_timestamp_seconds", Unit: "s",
		Help: "Time at which the records were counted last."}
}

// Other stands for a value that is not in its table.
const Other = "other"

// Runtime returns a name if it is one of those given, and Other for any other.
func Runtime(known []string, name string) string {
	if slices.Contains(known, name) {
		return name
	}
	return Other
}

// Source returns how a job came in, and Other if that is not known.
func Source(by job.Way) string {
	if slices.Contains(job.Ways(), by) {
		return string(by)
	}
	return Other
}

// Reason returns a reason that jobs and attempts end for, and Other for one that it does not know,
// since those of Kubernetes are passed on.
func Reason(r job.Reason) string {
	switch r {
	case job.ReasonCompleted, job.ReasonError, job.ReasonCancelled, job.ReasonDeadlineExceeded, job.ReasonOOMKilled,
		job.ReasonEvicted, job.ReasonCannotRun, job.ReasonFetchFailed, job.ReasonOutputsLost, job.ReasonInterrupted,
		job.ReasonStartFailed, job.ReasonDependenciesFailed, job.ReasonPullBackOff, job.ReasonUnschedulable,
		job.ReasonQuotaExceeded, job.ReasonFailedCreate, job.ReasonNodeLost, job.ReasonPreempted:
		return string(r)
	}
	return Other
}

// End returns the reason by which a job counts that has ended so, and false for one that has not ended.
func End(phase job.Phase, reason job.Reason) (string, bool) {
	switch phase {
	case job.Failed:
		return Reason(reason), true
	case job.Succeeded:
		return string(job.ReasonCompleted), true
	case job.Cancelled:
		return string(job.ReasonCancelled), true
	}
	return "", false
}
