package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"go-job-orchestrator/shared/instruments"
)

// opts is the name and the help text of a metric. Times are in seconds and sizes in bytes.
type opts prometheus.Opts

func opt(name, help string) opts { return opts{Name: name, Help: help} }

func of(i instruments.Instrument) opts { return opts{Name: i.Name, Help: i.Help} }

// histogram has an observation in the last bucket if it is larger than all bounds.
func (o opts) histogram(bounds ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: o.Name, Help: o.Help, Buckets: bounds}
}

func histogramOf(i instruments.Instrument) prometheus.HistogramOpts {
	return of(i).histogram(i.Bounds...)
}

// The metrics of the process itself; those of jobs are in package instruments.
var (
	requestSeconds = opt("http_server_request_duration_seconds",
		"Time to answer a request. Requests that wait for a job or follow it are not among them.")
	requestsTotal = opt("http_server_requests_total",
		"Requests that were answered, by function and class of status.")
)
