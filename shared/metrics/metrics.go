// Package metrics counts what a process does, and shows it to Prometheus. The number of series is
// bounded, because all values of labels come from tables of this program and none from clients.
package metrics

import (
	"net/http"
	"sync"

	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/instruments"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/version"
)

// Registry is the metrics of one process.
type Registry struct {
	// Requests counts the requests that the process answers.
	Requests *Requests
	registry *prometheus.Registry
	// own registers the metrics of the process itself. They count nothing, and making them takes half a
	// millisecond, so that is done for who reads them.
	own func()
}

// New returns the metrics that every process has: what it was built from, its memory and CPU, and
// the requests that it answers.
func New() *Registry {
	r := &Registry{registry: prometheus.NewRegistry(), Requests: newRequests()}
	r.registry.MustRegister(r.Requests)
	r.own = sync.OnceFunc(func() {
		r.registry.MustRegister(newBuildInfo(version.Get()),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
			collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled()))
	})
	return r
}

func newBuildInfo(v version.Info) prometheus.Collector {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts(of(instruments.BuildInfo())),
		[]string{"version", "commit", "goversion"})
	build.WithLabelValues(v.Version, v.Commit, v.Go).Set(1)
	return build
}

// Gather implements prometheus.Gatherer: it returns all series as they are now.
func (r *Registry) Gather() ([]*dto.MetricFamily, error) {
	r.own()
	return r.registry.Gather()
}

// Mount routes the call by which Prometheus reads the series. The answer comes from memory, so a
// storage that hangs does not delay it.
func (r *Registry) Mount(router *api.Router) {
	read := promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	router.Handle(routes.GetMetrics, func(w http.ResponseWriter, req *http.Request, _ httprouter.Params) error {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		read.ServeHTTP(w, req)
		return nil
	})
}
