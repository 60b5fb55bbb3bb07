package otel

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// receiver is that of a collector, with all it has taken.
type receiver struct {
	address string

	mu       sync.Mutex
	spans    map[string]ptrace.Span // by their IDs
	resource map[string]any         // of the spans
	header   string                 // X-Tenant of the request with the last spans
	numbers  map[string]float64     // the last ones, by name and labels
	bounds   map[string][]float64   // of histograms
}

// freeAddress returns one on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// listen starts the receiver at an address.
func listen(t *testing.T, address string) *receiver {
	t.Helper()
	r := &receiver{address: address, spans: map[string]ptrace.Span{}}
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	err := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{"http": map[string]any{
		"endpoint": address, "include_metadata": true,
	}}}).Unmarshal(config)
	if err != nil {
		t.Fatal(err)
	}
	spans, err := consumer.NewTraces(r.takeSpans)
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := consumer.NewMetrics(r.takeNumbers)
	if err != nil {
		t.Fatal(err)
	}
	settings := receivertest.NewNopSettings(factory.Type())
	traces, err := factory.CreateTraces(t.Context(), settings, config, spans)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := factory.CreateMetrics(t.Context(), settings, config, numbers); err != nil { // it is the same receiver
		t.Fatal(err)
	}
	if err := traces.Start(t.Context(), componenttest.NewNopHost()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = traces.Shutdown(context.WithoutCancel(t.Context())) })
	return r
}

func (r *receiver) takeSpans(ctx context.Context, all ptrace.Traces) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if tenant := client.FromContext(ctx).Metadata.Get("X-Tenant"); len(tenant) > 0 {
		r.header = tenant[0]
	}
	for _, of := range all.ResourceSpans().All() {
		r.resource = of.Resource().Attributes().AsRaw()
		for _, scope := range of.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				kept := ptrace.NewSpan()
				s.CopyTo(kept)
				r.spans[s.SpanID().String()] = kept
			}
		}
	}
	return nil
}

// takeNumbers replaces the numbers, as a collector does with a cumulative series.
func (r *receiver) takeNumbers(_ context.Context, all pmetric.Metrics) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.numbers, r.bounds = map[string]float64{}, map[string][]float64{}
	for _, of := range all.ResourceMetrics().All() {
		for _, scope := range of.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				r.take(m)
			}
		}
	}
	return nil
}

func (r *receiver) take(m pmetric.Metric) {
	switch m.Type() {
	case pmetric.MetricTypeSum:
		for _, p := range m.Sum().DataPoints().All() {
			r.numbers[series(m, p.Attributes())] = float64(p.IntValue())
		}
	case pmetric.MetricTypeGauge:
		for _, p := range m.Gauge().DataPoints().All() {
			r.numbers[series(m, p.Attributes())] = p.DoubleValue()
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			r.numbers[series(m, p.Attributes())] = float64(p.Count())
			r.bounds[m.Name()] = p.ExplicitBounds().AsRaw()
		}
	}
}

// series is the name and the labels, such as gojob_jobs{phase:Failed}.
func series(m pmetric.Metric, labels pcommon.Map) string {
	if labels.Len() == 0 {
		return m.Name()
	}
	return m.Name() + fmt.Sprint(labels.AsRaw())[len("map"):]
}

// of returns the spans of one job by what its steps are called.
func (r *receiver) of(jobID string) map[string]ptrace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[string]ptrace.Span{}
	var run pcommon.SpanID
	for _, s := range r.spans {
		if value, has := s.Attributes().Get("cicd.pipeline.run.id"); has && value.Str() == jobID {
			found["run"], run = s, s.SpanID()
		}
	}
	for _, s := range r.spans {
		if value, has := s.Attributes().Get("cicd.pipeline.task.run.id"); has && len(value.Str()) > len(jobID) &&
			value.Str()[:len(jobID)] == jobID && !run.IsEmpty() {
			found[value.Str()[len(jobID)+1:]] = s
		}
	}
	return found
}

func (r *receiver) number(name string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.numbers[name]
}
