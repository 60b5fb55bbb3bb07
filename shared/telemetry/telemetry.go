// Package telemetry sends numbers and spans of jobs to a collector, by OTLP over HTTP. It makes both
// from the records of jobs, since the pods that accepted and ran them may be gone by then. Only the
// reaper and the one process link it.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/treecache"
	"go-job-orchestrator/shared/version"
)

// Settings are those of OpenTelemetry that are looked at here, beside Collector of the common ones. The
// exporters read the others themselves, such as OTEL_EXPORTER_OTLP_HEADERS.
type Settings struct {
	Protocol string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf"`
	Metrics  string `env:"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"`
	Traces   string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
}

// Check refuses a protocol that is not spoken here, and what is not a URL.
func (s *Settings) Check() error {
	err := errors.Join(settings.CheckCollector("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", s.Metrics),
		settings.CheckCollector("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", s.Traces))
	if s.Protocol != "http/protobuf" && s.Protocol != "http/json" {
		err = errors.Join(err, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not spoken here; set http/protobuf, and as "+
			"OTEL_EXPORTER_OTLP_ENDPOINT the port that the collector has for HTTP, which is 4318 as a rule", s.Protocol))
	}
	return err
}

// Bounds of one push.
const (
	// sendTimeout bounds one request, unless OTEL_EXPORTER_OTLP_TIMEOUT is shorter.
	sendTimeout = 10 * time.Second
	// pushTimeout bounds all of it but for the request with the numbers, which comes in any case.
	// countTimeout bounds the part that counts entries, and recordsTimeout the part that counts records.
	// What is left is for the next push.
	pushTimeout    = 45 * time.Second
	countTimeout   = 15 * time.Second
	recordsTimeout = 15 * time.Second
	// batch is how many entries are in memory at a time.
	batch = 256
	// readers is how many jobs are read at a time.
	readers = 16
	// maxSpans is how many spans a request has, and those of one job more.
	maxSpans = 2000
	// maxOwed is how many jobs are kept whose spans the collector does not take. Spans of more are lost.
	maxOwed = 10_000
	// maxRefused is how many jobs' spans are given up in a push because the collector refuses them. One
	// that refuses more is not what it should be, and may be mended.
	maxRefused = 16
	// countEvery is the least time between two counts of the records, and countShare bounds the part of
	// the time that they take to 1/countShare.
	countEvery = 50 * time.Second
	countShare = 20
)

// Pusher sends what the records say. Its method Push may be called by several processes at once.
type Pusher struct {
	store    *store.Store
	records  *ledger.Ledger
	packages *treecache.Cache
	book     book
	resource *resource.Resource
	build    version.Info
	runtimes []string
	metrics  metricExporter
	traces   otlptrace.Client
	now      func() time.Time
	log      *slog.Logger

	mu sync.Mutex // of one push at a time
}

// metricExporter is the part of an exporter of metrics that is used.
type metricExporter interface {
	Export(ctx context.Context, m *metricdata.ResourceMetrics) error
}

// Sender sends what the records say; Pusher is one.
type Sender interface {
	Push(ctx context.Context, reaped time.Time)
}

// Open returns what sends to the collector, or nil if none is configured.
func Open(env *platform.Env, records *ledger.Ledger) (Sender, error) {
	p, err := open(env, records)
	if p == nil {
		return nil, err // not an interface with a nil in it
	}
	return p, err
}

func open(env *platform.Env, records *ledger.Ledger) (*Pusher, error) {
	common, err := env.Common()
	if err != nil {
		return nil, err
	}
	if common.Collector == "" {
		return nil, nil //nolint:nilnil // see above
	}
	var own Settings
	s, err := env.Store()
	if err := errors.Join(err, env.Load(&own)); err != nil {
		return nil, err
	}
	ctx := context.Background()
	p := &Pusher{
		store: s, records: records, packages: &treecache.Cache{Store: s, Now: env.Now, Log: env.Log},
		book: book{store: s, now: env.Now}, build: version.Get(), now: env.Now, log: env.Log,
	}
	for _, r := range runtimes.All() {
		p.runtimes = append(p.runtimes, r.Name)
	}
	// A resource without what could not be read is better than none.
	p.resource, err = resource.New(ctx, resource.WithSchemaURL(schemaURL),
		resource.WithAttributes(serviceAttributes(p.build)...), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		env.Log.Warn("OTEL_RESOURCE_ATTRIBUTES: not all of them could be read", "error", err)
	}
	p.metrics, err = otlpmetrichttp.New(ctx,
		otlpmetrichttp.WithEndpointURL(endpoint(common.Collector, own.Metrics, "v1/metrics")),
		// Who comes too late is tried again by the next push, not in this one.
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{Enabled: false}))
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	p.traces = otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(endpoint(common.Collector, own.Traces, "v1/traces")),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}))
	if err := p.traces.Start(ctx); err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	return p, nil
}

// endpoint is where a signal is sent: to its own address, else below that of all signals.
func endpoint(all, own, path string) string {
	if own != "" {
		return own
	}
	return strings.TrimSuffix(all, "/") + "/" + path
}

// Push counts the jobs that were accepted and that have ended since the last push, and sends the
// numbers and the spans. reaped is when the reaper last made a round without an error; zero: it is not
// known. Push returns within a minute, also if the collector or the storage does not answer. What it
// could not do the next push does, so it returns no error, but logs it.
func (p *Pusher) Push(ctx context.Context, reaped time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.push(ctx, reaped); err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "numbers and spans of jobs not all sent (OTEL_EXPORTER_OTLP_ENDPOINT); the next round "+
			"goes on", "error", err)
	}
}

func (p *Pusher) push(ctx context.Context, reaped time.Time) error {
	within, stop := context.WithTimeout(ctx, pushTimeout)
	defer stop()
	t, err := p.book.last(within)
	if err != nil {
		return err
	}
	s := &sender{pusher: p}
	t, countErr := p.count(within, t, s)
	if countErr == nil {
		t, countErr = p.observe(within, t, reaped)
	}
	var exportErr error
	if !errors.Is(countErr, errOutrun) { // whoever was faster sends the numbers, and has more of them
		exportErr = errors.Join(countErr, p.export(ctx, t))
	}
	s.sendOwed(within)
	return errors.Join(exportErr, s.err)
}

// observe counts the records, if it is time to, and writes what has changed. Records that could not be
// counted in time are not counted again at once, and their older numbers stay.
func (p *Pusher) observe(ctx context.Context, t *totals, reaped time.Time) (*totals, error) {
	now := p.now().UTC()
	n := t.next()
	if reaped.After(n.Reaped) {
		n.Reaped = reaped.UTC()
	}
	if now.Before(t.Due) && len(t.Batch) == 0 {
		n.version = t.version
		return n, nil
	}
	var countErr error
	if !now.Before(t.Due) {
		begun := time.Now()
		records, err := p.countRecords(ctx)
		n.Due = now.Add(max(countEvery, countShare*time.Since(begun)))
		if err == nil {
			n.Records = records
		} else {
			countErr = fmt.Errorf("count the records: %w", err)
		}
	}
	return n, errors.Join(countErr, p.book.write(ctx, n))
}

func (p *Pusher) countRecords(ctx context.Context) (*counted, error) {
	ctx, stop := context.WithTimeout(ctx, recordsTimeout)
	defer stop()
	census, err := p.records.Count(ctx)
	cached, cacheErr := p.packages.Size(ctx)
	if err := errors.Join(err, cacheErr); err != nil {
		return nil, err
	}
	c := &counted{Census: census, Cached: cached, At: p.now().UTC()}
	if bytes, known := p.store.Free(); known {
		c.Free = &bytes
	}
	return c, nil
}

// export sends the numbers, unless another process has newer ones by now: counters must not go back.
func (p *Pusher) export(ctx context.Context, t *totals) error {
	ctx, stop := context.WithTimeout(ctx, sendTimeout)
	defer stop()
	newer, err := p.book.hasNewer(ctx, t.version)
	if err != nil || newer {
		return err
	}
	if err := p.metrics.Export(ctx, t.points(p.resource, p.build, p.now().UTC())); err != nil {
		return fmt.Errorf("send the numbers: %w", err)
	}
	return nil
}
