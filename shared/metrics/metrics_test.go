package metrics

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/instruments"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
)

// everything is the metrics of the one process, with a clock that stands.
type everything struct {
	*Registry
	jobs    *Jobs
	records *Records
	now     time.Time
}

func newEverything() *everything {
	e := &everything{Registry: New(), now: time.Unix(1_800_000_000, 0)}
	e.jobs = NewJobs(e.Registry, []string{"python", "node", "java", "binary"})
	e.records = NewRecords(e.Registry, func() time.Time { return e.now })
	return e
}

// text returns what Prometheus reads, without help texts.
func (e *everything) text(t *testing.T) string {
	t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			lines = append(lines, fmt.Sprintf("%s{%s} %g", f.GetName(), strings.Join(labels, ","), value))
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// fill makes every series that there can be.
func (e *everything) fill(t *testing.T, reasons []job.Reason) {
	t.Helper()
	for _, name := range append(slices.Clone(e.jobs.runtimes), "\xff{}", "rust", "") {
		for _, way := range append(job.Ways(), "smuggled", "") {
			e.jobs.Submitted(name, way)
		}
		for _, phase := range append(job.Phases(), "Lost", "") {
			for _, reason := range reasons {
				e.jobs.Ended(name, phase, reason, time.Second)
				e.jobs.AttemptEnded(reason)
			}
		}
	}
	e.jobs.Started(time.Second)
	free := int64(1 << 30)
	e.records.Counted(job.Census{}, 1, &free, time.Second)
	for _, route := range append(routes.All(), routes.Route{}) {
		for status := range 700 {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("/x/%d", status), nil)
			e.Requests.Answered(route, r, status-50, time.Second)
		}
	}
}

// allReasons are those of this program, and such as only a cluster or an enemy has.
func allReasons(t *testing.T) []job.Reason {
	t.Helper()
	source, err := os.ReadFile("../job/phase.go")
	if err != nil {
		t.Fatal(err)
	}
	var list []job.Reason
	for line := range strings.Lines(string(source)) {
		name, rest, found := strings.Cut(line, `= "`)
		if word, _, closed := strings.Cut(rest, `"`); found && closed && strings.Contains(name, "Reason") {
			list = append(list, job.Reason(word))
		}
	}
	if len(list) < 20 {
		t.Fatalf("found %d reasons", len(list))
	}
	for i := range 2000 {
		list = append(list, job.Reason(fmt.Sprintf("Hostile\n\xff%d-%d", i, rand.Int())))
	}
	return list
}

// maxSeries is what a process may have.
const maxSeries = 500

// TestSeriesAreBounded makes every series there can be, and tries to make more.
func TestSeriesAreBounded(t *testing.T) {
	e := newEverything()
	e.fill(t, allReasons(t))
	got := httptest.NewRecorder()
	e.serve(t, got)
	series := 0
	for line := range strings.Lines(got.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	if series > maxSeries || series < maxSeries/2 {
		t.Errorf("%d series; at most %d may be", series, maxSeries)
	}
	for _, foreign := range []string{"Hostile", "rust", "smuggled", "/x/", "\xff", `"Lost"`} {
		if strings.Contains(got.Body.String(), foreign) {
			t.Errorf("%q became a label", foreign)
		}
	}
	t.Logf("%d series", series)
}

// TestLint has Prometheus' own rules look at the names and the help texts.
func TestLint(t *testing.T) {
	e := newEverything()
	e.fill(t, allReasons(t))
	problems, err := testutil.GatherAndLint(e.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v", problems, err)
	}
}

// TestJobs makes sure that each count is where it belongs.
func TestJobs(t *testing.T) {
	e := newEverything()
	e.jobs.Submitted("python", job.ByEvent)
	e.jobs.Started(3 * time.Second)
	e.jobs.AttemptEnded(job.ReasonOOMKilled)
	e.jobs.AttemptEnded("Weird")
	e.jobs.Ended("python", job.Failed, job.ReasonOOMKilled, time.Minute)
	e.jobs.Ended("cobol", job.Failed, "Weird", 0)
	e.jobs.Ended("node", job.Succeeded, job.ReasonCompleted, time.Hour)
	e.jobs.Ended("node", job.Running, "", time.Hour)
	text := e.text(t)
	for _, want := range []string{
		`gojob_jobs_submitted_total{runtime="python",source="event"} 1`,
		`gojob_jobs_submitted_total{runtime="python",source="form"} 0`,
		`gojob_attempts_total{reason="OOMKilled"} 1`, `gojob_attempts_total{reason="other"} 1`,
		`gojob_jobs_finished_total{phase="Failed",reason="OOMKilled",runtime="python"} 1`,
		`gojob_jobs_finished_total{phase="Failed",reason="other",runtime="other"} 1`,
		`gojob_jobs_finished_total{phase="Succeeded",reason="Completed",runtime="node"} 1`,
		`gojob_job_queue_seconds{} 1`, `gojob_job_run_seconds{} 2`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `phase="Running",`) {
		t.Error("a job that runs has ended")
	}
}

// TestRequests makes sure that requests that wait have no times, and agents one route.
func TestRequests(t *testing.T) {
	e := newEverything()
	ask := func(route routes.Route, path string, status int, header ...string) {
		r := httptest.NewRequestWithContext(t.Context(), route.Method, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		e.Requests.Answered(route, r, status, time.Second)
	}
	ask(routes.GetJob, "/api/v1/jobs/secret", 404)
	ask(routes.GetJob, "/api/v1/jobs/secret", 200, "Prefer", "wait=10")
	ask(routes.GetJobLogs, "/api/v1/jobs/secret/logs?follow=true", 200)
	ask(routes.GetJobLogs, "/api/v1/jobs/secret/logs", 200, "Accept", "text/event-stream")
	ask(routes.HeadOutput, "/outputs/secret/x", 200)
	ask(routes.PutLogSegment, "/agent/v1/jobs/secret/log/segments/x", 503)
	text := e.text(t)
	for _, want := range []string{
		`http_server_request_duration_seconds{http_request_method="GET",http_route="/api/v1/jobs/:id"} 1`,
		`http_server_request_duration_seconds{http_request_method="GET",http_route="/outputs/:id/*filename"} 1`,
		`http_server_request_duration_seconds{http_request_method="any",http_route="/agent"} 1`,
		`http_server_requests_total{function="status",status="2xx"} 1`,
		`http_server_requests_total{function="status",status="4xx"} 1`,
		`http_server_requests_total{function="logs",status="2xx"} 2`,
		`http_server_requests_total{function="agentapi",status="5xx"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") || strings.Contains(text, "/logs\"") {
		t.Errorf("in the labels is what a client sent, or a time of a follower:\n%s", text)
	}
}

// TestRecordsAreCountedForReaders makes sure that a bucket is not listed for nobody, nor all the
// time.
func TestRecordsAreCountedForReaders(t *testing.T) {
	e := newEverything()
	if e.records.Due() {
		t.Error("due before anybody has read")
	}
	if text := e.text(t); strings.Contains(text, instruments.Jobs().Name+"{") || strings.Contains(text, instruments.QueueOldest().Name) {
		t.Errorf("numbers before they were counted:\n%s", text)
	}
	if !e.records.Due() {
		t.Error("not due after somebody has read")
	}
	free := int64(7)
	e.records.Counted(job.Census{
		Jobs: map[job.Phase]int{job.Pending: 2, job.Failed: 3}, Oldest: e.now.Add(-time.Minute), Owed: 4,
	}, 5, &free, 2*time.Second)
	e.now = e.now.Add(30 * time.Second)
	want := []string{
		`gojob_count_timestamp_seconds{} 1.8e+09`, `gojob_dependency_cache_bytes{} 5`, `gojob_jobs{phase="Cancelled"} 0`,
		`gojob_jobs{phase="Failed"} 3`, `gojob_jobs{phase="Pending"} 2`, `gojob_jobs{phase="Running"} 0`,
		`gojob_jobs{phase="Succeeded"} 0`, `gojob_notices_owed{} 4`, `gojob_queue_oldest_seconds{} 90`,
		`gojob_storage_free_bytes{} 7`,
	}
	got := slices.DeleteFunc(strings.Split(e.text(t), "\n"), func(line string) bool {
		return !slices.ContainsFunc([]string{"gojob_count", "gojob_dep", "gojob_jobs{", "gojob_not", "gojob_queue", "gojob_sto"},
			func(p string) bool { return strings.HasPrefix(line, p) })
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if e.records.Due() {
		t.Error("due again although counting took 2 s of 30")
	}
	if e.now = e.now.Add(10 * time.Second); !e.records.Due() {
		t.Error("not due after 20 times as long as counting took")
	}
	if e.now = e.now.Add(readWithin); e.records.Due() {
		t.Error("still due although nobody reads any more")
	}
	e.records.Reaped()
	if text := e.text(t); !strings.Contains(text, fmt.Sprintf("%s{} %g\n", instruments.ReaperSuccess().Name, seconds(e.now))) {
		t.Errorf("the round is not noted:\n%s", text)
	}
}

// everybody is a guard that admits all.
type everybody struct{}

func (everybody) Admit(r *http.Request, _ httprouter.Params, _ routes.Route) (*http.Request, error) {
	return r, nil
}

// serve has the call answered as Prometheus makes it.
func (e *everything) serve(t *testing.T, w http.ResponseWriter) {
	t.Helper()
	router := api.NewRouter(slog.New(slog.DiscardHandler)).Guarded(everybody{})
	e.Mount(router)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	router.ServeHTTP(w, r)
}

// TestAnswer checks the answer's headers, and that it needs a caller.
func TestAnswer(t *testing.T) {
	e := newEverything()
	w := httptest.NewRecorder()
	e.serve(t, w)
	if ct := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(ct, "text/plain; version=0.0.4") ||
		w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	if routes.GetMetrics.Role == routes.Anyone {
		t.Error("everybody can read the metrics of a server with keys")
	}
}
