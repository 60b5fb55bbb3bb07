package telemetry

import (
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"go-job-orchestrator/shared/instruments"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/version"
)

// scope is what the metrics and spans come from.
const scope = "go-job-orchestrator"

// points returns the totals as they are at the time now, as a collector takes them.
func (t *totals) points(of *resource.Resource, v version.Info, now time.Time) *metricdata.ResourceMetrics {
	g := gauges{now: now}
	g.add(instruments.BuildInfo(), 1, buildAttributes(v)...)
	g.add(instruments.ReaperSuccess(), seconds(t.Reaped))
	if r := t.Records; r != nil {
		phases := metricdata.Gauge[float64]{}
		for _, p := range job.Phases() {
			phases.DataPoints = append(phases.DataPoints, g.point(float64(r.Jobs[p]), labelPhase.String(string(p))))
		}
		g.list = append(g.list, metric(instruments.Jobs(), phases))
		oldest := 0.0
		if !r.Oldest.IsZero() {
			oldest = max(now.Sub(r.Oldest).Seconds(), 0)
		}
		g.add(instruments.QueueOldest(), oldest)
		g.add(instruments.NoticesOwed(), float64(r.Owed))
		g.add(instruments.CacheBytes(), float64(r.Cached))
		g.add(instruments.CountedAt(), seconds(r.At))
		if r.Free != nil {
			g.add(instruments.StorageFree(), float64(*r.Free))
		}
	}
	list := append(g.list,
		t.sum(instruments.JobsSubmitted(), t.Submitted, now, labelRuntime, labelSource),
		t.sum(instruments.JobsFinished(), t.Finished, now, labelRuntime, labelPhase, labelReason),
		t.sum(instruments.Attempts(), t.Attempts, now, labelReason),
		t.histogram(instruments.QueueSeconds(), t.Queue, now),
		t.histogram(instruments.RunSeconds(), t.Run, now),
	)
	return &metricdata.ResourceMetrics{Resource: of, ScopeMetrics: []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: scope, Version: v.Version}, Metrics: list,
	}}}
}

func metric(i instruments.Instrument, data metricdata.Aggregation) metricdata.Metrics {
	return metricdata.Metrics{Name: i.Name, Description: i.Help, Unit: i.Unit, Data: data}
}

// gauges makes the metrics that go up and down.
type gauges struct {
	now  time.Time
	list []metricdata.Metrics
}

func (g *gauges) point(value float64, labels ...attribute.KeyValue) metricdata.DataPoint[float64] {
	return metricdata.DataPoint[float64]{Attributes: attribute.NewSet(labels...), Time: g.now, Value: value}
}

func (g *gauges) add(i instruments.Instrument, value float64, labels ...attribute.KeyValue) {
	g.list = append(g.list, metric(i, metricdata.Gauge[float64]{
		DataPoints: []metricdata.DataPoint[float64]{g.point(value, labels...)},
	}))
}

// sum is a counter since the first count.
func (t *totals) sum(i instruments.Instrument, c counts, now time.Time, labels ...attribute.Key) metricdata.Metrics {
	data := metricdata.Sum[int64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	for values, n := range c {
		var set []attribute.KeyValue
		for at, value := range strings.Split(values, separator) {
			if at < len(labels) {
				set = append(set, labels[at].String(value))
			}
		}
		data.DataPoints = append(data.DataPoints, metricdata.DataPoint[int64]{
			Attributes: attribute.NewSet(set...), StartTime: t.Since, Time: now, Value: n,
		})
	}
	return metric(i, data)
}

func (t *totals) histogram(i instruments.Instrument, h histogram, now time.Time) metricdata.Metrics {
	point := metricdata.HistogramDataPoint[float64]{
		StartTime: t.Since, Time: now, Bounds: i.Bounds, BucketCounts: h.Buckets, Sum: h.Sum,
	}
	for _, n := range h.Buckets {
		point.Count += n
	}
	return metric(i, metricdata.Histogram[float64]{
		Temporality: metricdata.CumulativeTemporality,
		DataPoints:  []metricdata.HistogramDataPoint[float64]{point},
	})
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
