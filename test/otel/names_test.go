package otel

import (
	"testing"

	"github.com/prometheus/otlptranslator"

	"go-job-orchestrator/shared/instruments"
)

// TestNames makes sure that Prometheus, which makes names of OTLP's metrics by their names, units and
// types, gives ours the names that it reads at /metrics, so that rules and dashboards work with both.
func TestNames(t *testing.T) {
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	for kind, list := range map[otlptranslator.MetricType][]instruments.Instrument{
		otlptranslator.MetricTypeMonotonicCounter: {instruments.JobsSubmitted(), instruments.JobsFinished(),
			instruments.Attempts()},
		otlptranslator.MetricTypeHistogram: {instruments.QueueSeconds(), instruments.RunSeconds()},
		otlptranslator.MetricTypeGauge: {instruments.ReaperSuccess(), instruments.BuildInfo(), instruments.Jobs(),
			instruments.QueueOldest(), instruments.NoticesOwed(), instruments.StorageFree(), instruments.CacheBytes(),
			instruments.CountedAt()},
	} {
		for _, i := range list {
			got, err := namer.Build(otlptranslator.Metric{Name: i.Name, Unit: i.Unit, Type: kind})
			if err != nil || got != i.Name {
				t.Errorf("%s becomes %s, %v", i.Name, got, err)
			}
		}
	}
}
