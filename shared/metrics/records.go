package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"go-job-orchestrator/shared/instruments"
	"go-job-orchestrator/shared/job"
)

// Records shows what the reaper counts. The reaper counts only while somebody reads the metrics, since
// a bucket asks money for each list.
type Records struct {
	now     func() time.Time
	success prometheus.Gauge

	mu      sync.Mutex
	read    time.Time // when the metrics were read last
	due     time.Time // before that nothing is counted
	counted time.Time // zero: never
	census  job.Census
	cached  int64  // bytes of packages
	disk    *int64 // bytes that are free; nil: not known

	jobs, oldest, owed, free, cache, at *prometheus.Desc
}

var _ prometheus.Collector = (*Records)(nil)

// The pace of counting.
const (
	// readWithin is how long after a scrape the records are still counted.
	readWithin = 10 * time.Minute
	// countEvery is the least time between two counts.
	countEvery = 10 * time.Second
	// countShare bounds the part of the time that counting takes to 1/countShare.
	countShare = 20
)

// NewRecords adds the metrics of records to a registry.
func NewRecords(to *Registry, now func() time.Time) *Records {
	desc := func(o instruments.Instrument, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(o.Name, o.Help, labels, nil)
	}
	r := &Records{
		now: now, success: prometheus.NewGauge(prometheus.GaugeOpts(of(instruments.ReaperSuccess()))),
		jobs: desc(instruments.Jobs(), "phase"), oldest: desc(instruments.QueueOldest()),
		owed: desc(instruments.NoticesOwed()), free: desc(instruments.StorageFree()),
		cache: desc(instruments.CacheBytes()), at: desc(instruments.CountedAt()),
	}
	r.success.Set(seconds(now()))
	to.registry.MustRegister(r, r.success)
	return r
}

// Due reports whether the records are to be counted now.
func (r *Records) Due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	return !r.read.IsZero() && now.Sub(r.read) < readWithin && !now.Before(r.due)
}

// Counted has what was counted, the bytes of cached packages, those that are free if that is known,
// and how long counting took.
func (r *Records) Counted(c job.Census, cached int64, free *int64, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.census, r.cached, r.disk, r.counted = c, cached, free, r.now()
	r.due = r.counted.Add(max(countEvery, countShare*took))
}

// Reaped notes a round of the reaper without an error.
func (r *Records) Reaped() { r.success.Set(seconds(r.now())) }

// Describe implements prometheus.Collector.
func (r *Records) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.jobs, r.oldest, r.owed, r.free, r.cache, r.at} {
		to <- d
	}
}

// Collect implements prometheus.Collector. There is nothing before the first count.
func (r *Records) Collect(to chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = r.now()
	if r.counted.IsZero() {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, p := range job.Phases() {
		gauge(r.jobs, float64(r.census.Jobs[p]), string(p))
	}
	oldest := 0.0
	if !r.census.Oldest.IsZero() {
		oldest = max(r.now().Sub(r.census.Oldest).Seconds(), 0)
	}
	gauge(r.oldest, oldest)
	gauge(r.owed, float64(r.census.Owed))
	gauge(r.cache, float64(r.cached))
	gauge(r.at, seconds(r.counted))
	if r.disk != nil {
		gauge(r.free, float64(*r.disk))
	}
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
