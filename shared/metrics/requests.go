package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/serve"
)

// Requests counts the requests that a process answers. To stay within the bound on series, the times
// have no status, and all calls of agents share one route.
type Requests struct {
	seconds *prometheus.HistogramVec
	total   *prometheus.CounterVec
}

var (
	_ api.Meter            = (*Requests)(nil)
	_ prometheus.Collector = (*Requests)(nil)
)

func newRequests() *Requests {
	return &Requests{
		seconds: prometheus.NewHistogramVec(requestSeconds.histogram(.1, .5, 2.5),
			[]string{"http_request_method", "http_route"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts(requestsTotal), []string{"function", "status"}),
	}
}

// Answered implements api.Meter. A request of no route counts without a time, since there is nothing
// that it could wait for.
func (q *Requests) Answered(route routes.Route, r *http.Request, status int, took time.Duration) {
	function := "none"
	if route != (routes.Route{}) {
		function = string(route.Function)
		if !serve.IsLongLived(r) {
			method, path := labelsOf(route)
			q.seconds.WithLabelValues(method, path).Observe(took.Seconds())
		}
	}
	q.total.WithLabelValues(function, class(status)).Inc()
}

// labelsOf returns the method and the path of a call, which has names in place of what clients send.
func labelsOf(route routes.Route) (method, path string) {
	switch {
	case route.Reach == routes.Pods:
		return "any", "/agent"
	case route.Method == http.MethodHead: // it costs what GET costs
		return http.MethodGet, route.Path
	}
	return route.Method, route.Path
}

// class is the class of a status, such as 2xx.
func class(status int) string {
	if status < 200 || status > 599 {
		return "5xx"
	}
	return strconv.Itoa(status/100) + "xx"
}

// Describe implements prometheus.Collector.
func (q *Requests) Describe(to chan<- *prometheus.Desc) {
	q.seconds.Describe(to)
	q.total.Describe(to)
}

// Collect implements prometheus.Collector.
func (q *Requests) Collect(to chan<- prometheus.Metric) {
	q.seconds.Collect(to)
	q.total.Collect(to)
}
