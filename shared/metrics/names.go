package metrics

import "github.com/prometheus/client_golang/prometheus"

// opts is the name and the help text of a metric. Times are in seconds and sizes in bytes.
type opts prometheus.Opts

func opt(name, help string) opts { return opts{Name: name, Help: help} }

// histogram has an observation in the last bucket if it is larger than all bounds.
func (o opts) histogram(bounds ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: o.Name, Help: o.Help, Buckets: bounds}
}

// What this process has done since its start.
var (
	jobsSubmitted = opt("gojob_jobs_submitted_total",
		"Jobs that were accepted, by runtime and by how they came in: form, template, event or rerun.")
	jobsFinished = opt("gojob_jobs_finished_total",
		"Jobs that have ended, by runtime, phase and reason.")
	attempts = opt("gojob_attempts_total",
		"Attempts that have ended, by reason. A job with retries can have several.")
	queueSeconds = opt("gojob_job_queue_seconds",
		"Time from a job's acceptance to its first attempt, or to the installation of its packages.")
	runSeconds = opt("gojob_job_run_seconds",
		"Time from the begin of a job's first attempt to its end.")
	requestSeconds = opt("http_server_request_duration_seconds",
		"Time to answer a request. Requests that wait for a job or follow it are not among them.")
	requestsTotal = opt("http_server_requests_total",
		"Requests that were answered, by function and class of status.")
	reaperSuccess = opt("gojob_reaper_last_success_timestamp_seconds",
		"Time of the last round of the reaper without an error, and of the start before the first.")
	buildInfo = opt("gojob_build_info",
		"What the process was built from. The value is 1.")
)

// What the records say, counted from time to time by the reaper.
var (
	jobs = opt("gojob_jobs",
		"Jobs that are kept, by phase.")
	queueOldest = opt("gojob_queue_oldest_seconds",
		"How long the job has waited that has waited for longest; 0 if none waits.")
	noticesOwed = opt("gojob_notices_owed",
		"Events that the sink (K_SINK) has not taken yet.")
	storageFree = opt("gojob_storage_free_bytes",
		"Free bytes of the disk of STORAGE_DIR. A bucket has no such number.")
	cacheBytes = opt("gojob_dependency_cache_bytes",
		"Size of the cached packages of all owners.")
	countedAt = opt("gojob_count_timestamp_seconds",
		"Time at which the records were counted last.")
)
