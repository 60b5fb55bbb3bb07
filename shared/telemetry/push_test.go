package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	colmetricpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"gocloud.dev/blob/memblob"
	"google.golang.org/protobuf/proto"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/storetest"
	"go-job-orchestrator/shared/treecache"
)

// collector takes what is sent, unless it is down. test/otel has a real one.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	down    bool
	spans   map[string]int // how often each span came, by its ID
	jobs    map[string]int // how many spans of a whole job came, by the job's ID
	numbers map[string]float64
	refused int // requests
	// poison is in the requests for spans that are refused for good; "": none is.
	poison string
	// partial is an answer with which a request for spans is taken in part; "": it is taken.
	partial string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{spans: map[string]int{}, jobs: map[string]int{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		in, _ = gzip.NewReader(r.Body)
	}
	body, err := io.ReadAll(in)
	if c.down || err != nil {
		c.refused++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/v1/traces":
		var sent coltracepb.ExportTraceServiceRequest
		err = proto.Unmarshal(body, &sent)
		if c.poison != "" && bytes.Contains(body, []byte(c.poison)) {
			http.Error(w, "a span is malformed", http.StatusBadRequest)
			return
		}
		c.takeSpans(sent.GetResourceSpans())
		if c.partial != "" {
			answer, _ := proto.Marshal(&coltracepb.ExportTraceServiceResponse{
				PartialSuccess: &coltracepb.ExportTracePartialSuccess{ErrorMessage: c.partial},
			})
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write(answer)
		}
	case "/v1/metrics":
		var sent colmetricpb.ExportMetricsServiceRequest
		err = proto.Unmarshal(body, &sent)
		c.takeNumbers(sent.GetResourceMetrics())
	default:
		err = errors.New(r.URL.Path)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (c *collector) takeSpans(list []*tracepb.ResourceSpans) {
	for _, of := range list {
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans[fmt.Sprintf("%x", s.GetSpanId())]++
				if strings.HasPrefix(s.GetName(), "RUN ") {
					c.jobs[attributeOf(s, "cicd.pipeline.run.id")]++
				}
			}
		}
	}
}

func attributeOf(s *tracepb.Span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// takeNumbers replaces the numbers, as a collector does with a cumulative series.
func (c *collector) takeNumbers(list []*metricpb.ResourceMetrics) {
	c.numbers = map[string]float64{}
	for _, of := range list {
		for _, scope := range of.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				for _, p := range slices.Concat(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()) {
					var labels []string
					for _, a := range p.GetAttributes() {
						labels = append(labels, a.GetValue().GetStringValue())
					}
					slices.Sort(labels)
					c.numbers[m.GetName()+strings.Join(labels, ",")] = float64(p.GetAsInt()) + p.GetAsDouble()
				}
				for _, p := range m.GetHistogram().GetDataPoints() {
					c.numbers[m.GetName()] = float64(p.GetCount())
				}
			}
		}
	}
}

// fixture is a bucket in memory whose records are reported to a collector.
type fixture struct {
	*ledgertest.Fixture
	collector *collector
	now       time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{collector: newCollector(t), now: time.Now()}
	f.Fixture = ledgertest.Open(t, "", func() time.Time { return f.now })
	f.Ledger = f.Ledger.Reporting()
	return f
}

// pusher returns what a process has that sends.
func (f *fixture) pusher(s *store.Store) *Pusher {
	f.T.Helper()
	env := f.Env("OTEL_EXPORTER_OTLP_ENDPOINT=" + f.collector.URL)
	env.SetStore(s)
	p, err := open(env, ledger.New(s, f.Now).Reporting())
	f.Must(err)
	return p
}

func (f *fixture) push() { f.pusher(f.Store).Push(f.T.Context(), f.now) }

// submit accepts a job in a folder of time of its own.
func (f *fixture) submit(change ...func(*job.Index)) *job.Index {
	f.T.Helper()
	f.now = f.now.Add(time.Second)
	change = append(change, func(index *job.Index) { index.Telemetry = &job.Telemetry{Source: job.ByForm} })
	return f.Job(change...)
}

// run has a job succeed at its first attempt.
func (f *fixture) run(index *job.Index) {
	f.T.Helper()
	a := f.Start(index, 1)
	end := f.now.Add(time.Second)
	a.FinishedAt, a.Reason = &end, job.ReasonCompleted
	f.Must(f.Ledger.EndAttempt(f.T.Context(), index.JobID, a))
	f.Finish(index, job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, StartedAt: &a.StartedAt,
		FinishedAt: end, Attempts: []job.Attempt{a}})
}

// left lists the keys of what is to be counted or sent.
func (f *fixture) left() []string {
	f.T.Helper()
	list := []string{}
	for _, folder := range []string{ledger.Reserved + "report/", spanKeys} {
		keys, err := f.Store.List(f.T.Context(), folder, "", 1000)
		f.Must(err)
		list = append(list, keys...)
	}
	return list
}

// want demands what the collector has been told of so many submitted and finished jobs.
func (f *fixture) want(submitted, finished int) {
	f.T.Helper()
	f.collector.mu.Lock()
	defer f.collector.mu.Unlock()
	got := map[string]float64{}
	for _, name := range []string{"gojob_jobs_submitted_totalform,python", "gojob_attempts_totalCompleted",
		"gojob_jobs_finished_totalCompleted,Succeeded,python", "gojob_job_queue_seconds", "gojob_job_run_seconds"} {
		if n := f.collector.numbers[name]; n > 0 {
			got[name] = n
		}
	}
	want := map[string]float64{}
	if submitted > 0 {
		want["gojob_jobs_submitted_totalform,python"] = float64(submitted)
	}
	for _, name := range []string{"gojob_jobs_finished_totalCompleted,Succeeded,python", "gojob_job_queue_seconds",
		"gojob_job_run_seconds", "gojob_attempts_totalCompleted"} {
		if finished > 0 {
			want[name] = float64(finished)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.T.Errorf("numbers (-want +got):\n%s", diff)
	}
}

// wantSpans demands that the spans of these jobs have come, and of no others.
func (f *fixture) wantSpans(jobs ...*job.Index) {
	f.T.Helper()
	f.collector.mu.Lock()
	defer f.collector.mu.Unlock()
	for _, index := range jobs {
		if f.collector.jobs[string(index.JobID)] == 0 {
			f.T.Errorf("no spans of job %s", index.JobID)
		}
	}
	if len(f.collector.jobs) != len(jobs) {
		f.T.Errorf("spans of %d jobs, want %d", len(f.collector.jobs), len(jobs))
	}
}

func TestPush(t *testing.T) {
	f := newFixture(t)
	first, second := f.submit(), f.submit()
	f.run(first)
	f.push()
	f.want(2, 1)
	f.wantSpans(first)
	f.now = f.now.Add(time.Minute)
	f.run(second)
	third := f.submit()
	f.push()
	f.want(3, 2)
	f.wantSpans(first, second)
	n := f.collector.numbers
	if n["gojob_jobsSucceeded"] != 2 || n["gojob_jobsPending"] != 1 || n["gojob_notices_owed"] != 0 ||
		n["gojob_queue_oldest_seconds"] != f.now.Sub(third.CreatedAt).Seconds() ||
		n["gojob_reaper_last_success_timestamp_seconds"] != seconds(f.now) {
		t.Errorf("gauges: %v", n)
	}
	for id, times := range f.collector.spans {
		if times > 1 {
			t.Errorf("span %s came %d times", id, times)
		}
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestRemoved has jobs removed before they are counted.
func TestRemoved(t *testing.T) {
	f := newFixture(t)
	index := f.submit()
	f.run(index)
	f.Must(f.Ledger.Remove(t.Context(), index.JobID))
	f.push()
	f.want(1, 1)
	f.wantSpans(index)
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestAborted has a job whose acceptance was given up.
func TestAborted(t *testing.T) {
	f := newFixture(t)
	id := f.ID()
	f.Must(f.Ledger.BeginUpload(t.Context(), id))
	f.Must(f.Store.Mark(t.Context(), ledger.Reserved+"report/"+string(id)[:7]+"/"+string(id)+"-1-accepted"))
	f.push()
	if len(f.left()) != 1 {
		t.Error("a job that is being accepted is not counted any more")
	}
	f.Must(f.Ledger.AbortUpload(t.Context(), id))
	f.push()
	f.want(0, 0)
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestUnsampled has a job whose request wants no spans, and one that was accepted before there was a
// collector.
func TestUnsampled(t *testing.T) {
	f := newFixture(t)
	unsampled := f.submit(func(index *job.Index) {
		index.Trace = job.NewTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "")
	})
	f.run(unsampled)
	f.run(f.Job())
	f.push()
	f.wantSpans()
	if n := f.collector.numbers["gojob_jobs_finished_totalCompleted,Succeeded,python"]; n != 2 {
		t.Errorf("%v finished jobs", n)
	}
}

// TestCollectorDown keeps what the collector does not take, also of jobs that are removed.
func TestCollectorDown(t *testing.T) {
	f := newFixture(t)
	f.collector.down = true
	first, second := f.submit(), f.submit()
	f.run(first)
	f.push()
	f.Must(f.Ledger.Remove(t.Context(), first.JobID))
	f.run(second)
	f.push()
	if f.collector.refused != 4 { // of each push one with spans and one with numbers
		t.Errorf("%d requests to a collector that is down", f.collector.refused)
	}
	if left := f.left(); len(left) != 2 {
		t.Errorf("kept: %q", left)
	}
	f.collector.down = false
	f.push()
	f.want(2, 2)
	f.wantSpans(first, second)
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestRefusedSpans has the collector refuse the spans of one job among others. They are given up, and
// nothing is kept that would be refused again.
func TestRefusedSpans(t *testing.T) {
	for _, down := range []bool{false, true} { // then the spans are kept before
		f := newFixture(t)
		var taken []*job.Index
		for i := range 7 {
			index := f.submit()
			f.run(index)
			if i == 3 {
				f.collector.poison = string(index.JobID)
			} else {
				taken = append(taken, index)
			}
		}
		if f.collector.down = down; down {
			f.push()
			f.collector.down = false
		}
		f.push()
		f.wantSpans(taken...)
		if left := f.left(); len(left) > 0 {
			t.Errorf("down=%t: left: %q", down, left)
		}
		f.want(7, 7)
	}
}

// TestCollectorRefusesAll has a collector that refuses everything. That is taken for a fault that can be
// mended, after a few jobs.
func TestCollectorRefusesAll(t *testing.T) {
	f := newFixture(t)
	f.collector.poison = "RUN"
	const jobs = 3 * maxRefused
	for range jobs {
		f.run(f.submit())
	}
	f.push()
	if left := len(f.left()); left != jobs-maxRefused {
		t.Errorf("%d are kept, want %d", left, jobs-maxRefused)
	}
	f.collector.poison = ""
	f.push()
	if n := len(f.collector.jobs); n != jobs-maxRefused {
		t.Errorf("spans of %d jobs came", n)
	}
}

// TestPartialSuccess has the collector take a request with a warning. It is not sent again.
func TestPartialSuccess(t *testing.T) {
	f := newFixture(t)
	f.collector.partial = "an attribute was cut off"
	index := f.submit()
	f.run(index)
	f.push()
	f.push()
	f.wantSpans(index)
	for id, n := range f.collector.spans {
		if n != 1 {
			t.Errorf("span %s came %d times", id, n)
		}
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestUnreadAfterCrash has a push die after it has counted, and the next one fail to read a record. The
// job is not counted again.
func TestUnreadAfterCrash(t *testing.T) {
	f := newFixture(t)
	first, second := f.submit(), f.submit()
	f.run(first)
	f.run(second)
	counted := false
	dying := storetest.WithHook(f.Store, func(_, key string) error {
		if counted {
			return errDied
		}
		counted = strings.HasPrefix(key, totalsKeys)
		return nil
	})
	f.pusher(dying).Push(t.Context(), f.now)
	if n := len(f.left()); n != 4 {
		t.Fatalf("%d entries are left by the crash, want all 4", n)
	}
	key := string(first.JobID) + "/" + job.IndexFile
	index, err := f.Store.Read(t.Context(), key)
	f.Must(err)
	put := func(data []byte) {
		_, err := f.Store.Put(t.Context(), key, bytes.NewReader(data))
		f.Must(err)
	}
	put([]byte("damaged"))
	third, fourth := f.submit(), f.submit()
	f.run(third)
	f.run(fourth)
	for range 2 {
		f.now = f.now.Add(time.Minute)
		f.push()
	}
	put(index)
	f.now = f.now.Add(time.Minute)
	f.push()
	f.want(4, 4)
	f.wantSpans(first, second, third, fourth)
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestRecordsNotCounted has a count of the records fail. The numbers of jobs are sent all the same, and
// the count is not tried again at once.
func TestRecordsNotCounted(t *testing.T) {
	f := newFixture(t)
	index := f.submit()
	f.run(index)
	p := f.pusher(f.Store)
	closed := store.OpenBucket(memblob.OpenBucket(nil), store.Extension{})
	f.Must(closed.Close())
	p.packages = &treecache.Cache{Store: closed, Now: f.Now}
	p.Push(t.Context(), f.now)
	f.want(1, 1)
	got, err := p.book.last(t.Context())
	f.Must(err)
	if got.Records != nil || got.Due.Before(f.now.Add(countEvery)) {
		t.Errorf("records %+v are counted again at %s", got.Records, got.Due)
	}
}

// TestOwedIsBounded makes sure that a collector that is down for long does not fill the storage.
func TestOwedIsBounded(t *testing.T) {
	f := newFixture(t)
	p := f.pusher(f.Store)
	s := &sender{pusher: p, err: errors.New("down"), listed: true, owed: maxOwed - 1}
	var lives []*ledger.Life
	for range 3 {
		index := f.submit()
		lives = append(lives, &ledger.Life{Index: index, Terminal: &job.Terminal{Phase: job.Cancelled}})
	}
	f.Must(s.send(t.Context(), lives))
	keys, err := f.Store.List(t.Context(), spanKeys, "", 10)
	f.Must(err)
	if len(keys) != 1 {
		t.Errorf("kept %d", len(keys))
	}
}

// TestTwice has a second process make the entry of an end anew that was counted, and a removal do so.
func TestTwice(t *testing.T) {
	f := newFixture(t)
	index := f.submit()
	f.run(index)
	f.push()
	for _, kind := range []string{"1-accepted", "2-ended"} {
		key := ledger.Reserved + "report/" + string(index.JobID)[:7] + "/" + string(index.JobID) + "-" + kind
		f.Must(f.Store.Mark(t.Context(), key))
	}
	f.push()
	f.want(1, 1)
	for _, kind := range []string{"1-accepted", "2-ended"} {
		key := ledger.Reserved + "report/" + string(index.JobID)[:7] + "/" + string(index.JobID) + "-" + kind
		f.Must(f.Store.Mark(t.Context(), key))
	}
	f.Must(f.Ledger.Remove(t.Context(), index.JobID))
	f.push()
	f.want(1, 1)
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

var errDied = errors.New("died")

// TestCrashes has the process die before each change that a push makes in the storage, or that change
// alone fail, with a collector that takes spans and with one that does not. In the end each job must
// have been counted once, and its spans must have come.
func TestCrashes(t *testing.T) {
	for _, down := range []bool{false, true} {
		for _, once := range []bool{false, true} {
			for n, more := 1, true; more; n++ {
				t.Run(fmt.Sprintf("down=%t/once=%t/%d", down, once, n), func(t *testing.T) {
					f := newFixture(t)
					f.collector.down = down
					ended, removed, waits := f.submit(), f.submit(), f.submit()
					f.run(ended)
					f.run(removed)
					f.Must(f.Ledger.Remove(t.Context(), removed.JobID))
					var mu sync.Mutex
					changes := 0
					dying := storetest.WithHook(f.Store, func(string, string) error {
						mu.Lock()
						defer mu.Unlock()
						changes++
						if changes == n || changes > n && !once {
							return errDied
						}
						return nil
					})
					f.pusher(dying).Push(t.Context(), f.now)
					more = changes >= n
					f.collector.down = false
					f.run(waits)
					for range 2 {
						f.now = f.now.Add(time.Minute)
						f.push()
					}
					f.want(3, 3)
					f.wantSpans(ended, removed, waits)
					if left := f.left(); len(left) > 0 {
						t.Errorf("left: %q", left)
					}
				})
			}
		}
	}
}

// TestTwoAtOnce has several processes count at the same time.
func TestTwoAtOnce(t *testing.T) {
	f := newFixture(t)
	const jobs = 60
	var list []*job.Index
	for range jobs {
		index := f.submit()
		list = append(list, index)
		f.run(index)
	}
	var all sync.WaitGroup
	for range 4 {
		p := f.pusher(f.Store)
		all.Go(func() { p.Push(t.Context(), f.now) })
	}
	all.Wait()
	for range 2 {
		f.now = f.now.Add(time.Minute)
		f.push()
	}
	f.want(jobs, jobs)
	f.wantSpans(list...)
}

// TestManyJobs has more jobs than are in memory at a time.
func TestManyJobs(t *testing.T) {
	f := newFixture(t)
	const jobs = batch + 20
	for range jobs {
		f.run(f.submit())
	}
	f.push()
	f.want(jobs, jobs)
	if left := f.left(); len(left) > 0 {
		t.Errorf("left: %d", len(left))
	}
	versions, err := f.pusher(f.Store).book.versions(t.Context())
	if err != nil || len(versions) != 1 {
		t.Errorf("versions of the totals: %v, %v", versions, err)
	}
}

// TestStale has a process write totals that others have overtaken.
func TestStale(t *testing.T) {
	f := newFixture(t)
	b := &book{store: f.Store, now: f.Now}
	ctx := t.Context()
	base, err := b.last(ctx)
	f.Must(err)
	stale := base.next()
	for range 3 {
		n, err := b.last(ctx)
		f.Must(err)
		n = n.next()
		n.Submitted.add("python", "form")
		f.Must(b.write(ctx, n))
	}
	if err := b.write(ctx, stale); !errors.Is(err, errOutrun) {
		t.Errorf("got %v", err)
	}
	got, err := b.last(ctx)
	f.Must(err)
	if got.version != 3 || got.Submitted["python|form"] != 3 {
		t.Errorf("got version %d with %v", got.version, got.Submitted)
	}
}

// TestHangingCollector must not keep a push for long.
func TestHangingCollector(t *testing.T) {
	f := newFixture(t)
	hang := make(chan struct{})
	f.collector.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	f.run(f.submit())
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	begun := time.Now()
	f.pusher(f.Store).Push(ctx, f.now)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestSettings(t *testing.T) {
	f := newFixture(t)
	if p, err := Open(f.Env(), f.Ledger); p != nil || err != nil {
		t.Errorf("without a collector: got %v, %v", p, err)
	}
	_, err := Open(f.Env("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), f.Ledger)
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_PROTOCOL") {
		t.Errorf("grpc: got %v", err)
	}
	for want, got := range map[string]string{
		"http://c:4318/v1/traces": endpoint("http://c:4318/", "", "v1/traces"), "http://t/x": endpoint("http://c", "http://t/x", "v1/traces"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestSeriesAreBounded counts everything that there can be, and tries to have more counted.
func TestSeriesAreBounded(t *testing.T) {
	f := newFixture(t)
	p := f.pusher(f.Store)
	all := newTotals(f.now)
	all.Records = &counted{}
	for n := range 2000 {
		word := fmt.Sprintf("hostile|\xff%d", n)
		for _, phase := range append(job.Phases(), job.Phase(word)) {
			for _, runtime := range append(slices.Clone(p.runtimes), word) {
				index := &job.Index{Spec: job.Spec{Runtime: runtime}, Telemetry: &job.Telemetry{Source: job.Way(word)}}
				all.add(p.runtimes, &ledger.Life{Index: index})
				all.add(p.runtimes, &ledger.Life{Index: index, Terminal: &job.Terminal{Phase: phase, Reason: job.Reason(word),
					Attempts: []job.Attempt{{FinishedAt: &f.now, Reason: job.Reason(word)}}}})
			}
		}
	}
	series := 0
	for _, m := range all.points(p.resource, p.build, f.now).ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			series += len(data.DataPoints)
		case metricdata.Gauge[float64]:
			series += len(data.DataPoints)
		case metricdata.Histogram[float64]:
			series += len(data.DataPoints)
		}
	}
	if series > 100 || len(all.Finished) < 10 {
		t.Errorf("%d series, %d of ends", series, len(all.Finished))
	}
}
