package otel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"go-job-orchestrator/shared/instruments"
)

const (
	patience = time.Minute // for each condition
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	spanID   = "b7ad6b7169203331"
	parent   = "00-" + traceID + "-" + spanID + "-01"
)

// command is the one process, built once.
var command = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "otel")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "all")
	build := exec.Command("go", "build", "-tags", "grpcnotrace,disable_grpc_modules", "-o", path,
		"go-job-orchestrator/functions/cmd/all")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := command(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// server is the one process, which sends to a collector.
type server struct {
	t    *testing.T
	url  string
	stop func() // kills it
}

func start(t *testing.T, dir, collector string, env ...string) *server {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "PORT=" + port, "STORAGE_DIR=" + dir, "REAP_INTERVAL=50ms",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + collector,
	}, env...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, url: "http://" + address}
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the server:\n%s", log.String())
		}
	})
	until(t, "the server answers", func() bool {
		got, err := http.Get(s.url + "/healthz") //nolint:noctx // of this process
		if err == nil {
			got.Body.Close()
		}
		return err == nil
	})
	return s
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// call makes a request with pairs of header names and values, and returns the body of a good answer.
func (s *server) call(method, path string, body io.Reader, header ...string) (http.Header, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode > 299 {
		s.t.Fatalf("%s %s: %s %s, %v", method, path, got.Status, data, err)
	}
	return got.Header, data
}

// form is a shell program as a form.
func form(program string, fields ...string) (body io.Reader, kind string) {
	var data bytes.Buffer
	w := multipart.NewWriter(&data)
	part, _ := w.CreateFormFile("files", "run") // nothing of this fails in memory
	_, _ = io.WriteString(part, "#!/bin/sh\n"+program+"\n")
	for _, field := range append(fields, "runtime=binary", "entrypoint=run") {
		name, value, _ := strings.Cut(field, "=")
		_ = w.WriteField(name, value)
	}
	_ = w.Close()
	return &data, w.FormDataContentType()
}

// submit has a program run to its end, and returns the job and what it printed.
func (s *server) submit(program string, header ...string) (jobID, printed string) {
	s.t.Helper()
	body, kind := form(program)
	_, data := s.call(http.MethodPost, "/api/v1/jobs", body,
		append(header, "Content-Type", kind, "Prefer", "wait=50")...)
	var job struct{ JobID string }
	if err := json.Unmarshal(data, &job); err != nil {
		s.t.Fatal(err)
	}
	return job.JobID, s.printed(job.JobID)
}

// printed waits for the end of a job.
func (s *server) printed(jobID string) string {
	s.t.Helper()
	_, log := s.call(http.MethodGet, "/api/v1/jobs/"+jobID+"/logs?follow=true", nil)
	return strings.TrimSpace(string(log))
}

// wantTree demands that all spans of a job are there, below each other as they belong.
func (r *receiver) wantTree(t *testing.T, jobID string) map[string]ptrace.Span {
	t.Helper()
	parents := map[string]string{
		"submit": "run", "queue": "run", "attempt/1": "run", "fetch/1": "attempt/1", "exec/1": "attempt/1",
		"collect/1": "attempt/1",
	}
	until(t, "the spans of job "+jobID, func() bool { return len(r.of(jobID)) > 0 })
	spans := r.of(jobID)
	names := slices.Sorted(maps.Keys(spans))
	want := []string{"attempt/1", "collect/1", "exec/1", "fetch/1", "queue", "run", "submit"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatalf("spans (-want +got):\n%s", diff)
	}
	for name, above := range parents {
		s, p := spans[name], spans[above]
		if s.ParentSpanID() != p.SpanID() || s.TraceID() != p.TraceID() {
			t.Errorf("%s: below %s in trace %s, want %s", name, s.ParentSpanID(), s.TraceID(), p.SpanID())
		}
		if s.StartTimestamp() < p.StartTimestamp() || s.EndTimestamp() > p.EndTimestamp() ||
			s.EndTimestamp() < s.StartTimestamp() {
			t.Errorf("%s from %s to %s is not within %s", name, s.StartTimestamp(), s.EndTimestamp(), above)
		}
	}
	return spans
}

// TestJob follows jobs from the trace of their request to that of their program.
func TestJob(t *testing.T) {
	r := listen(t, freeAddress(t))
	s := start(t, t.TempDir(), r.address, "OTEL_EXPORTER_OTLP_HEADERS=X-Tenant=mine", "OTEL_SERVICE_NAME=jobs",
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test")
	for name, send := range map[string]struct {
		header []string
		trace  string // of the program; empty: one of its own
		above  string // the request's span
	}{
		"with a trace":            {[]string{"traceparent", parent}, traceID, spanID},
		"without one":             {},
		"with one that is wrong":  {[]string{"traceparent", strings.ToUpper(parent)}, "", ""},
		"with a zero trace ID":    {[]string{"traceparent", "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"}, "", ""},
		"with one of a later day": {[]string{"traceparent", "cc" + parent[2:] + "-what-comes"}, traceID, spanID},
	} {
		id, printed := s.submit("echo $TRACEPARENT", send.header...)
		spans := r.wantTree(t, id)
		attempt, run := spans["attempt/1"], spans["run"]
		if want := fmt.Sprintf("00-%s-%s-01", attempt.TraceID(), attempt.SpanID()); printed != want {
			t.Errorf("%s: TRACEPARENT is %q, want %q", name, printed, want)
		}
		if send.trace != "" && run.TraceID().String() != send.trace || run.ParentSpanID().String() != send.above {
			t.Errorf("%s: trace %s below %q, want %s below %q", name, run.TraceID(), run.ParentSpanID(), send.trace, send.above)
		}
		if run.Name() != "RUN binary" || run.Status().Code() != ptrace.StatusCodeUnset {
			t.Errorf("%s: the run is %s, %s", name, run.Name(), run.Status().Code())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resource["service.name"] != "jobs" || r.resource["deployment.environment.name"] != "test" || r.header != "mine" {
		t.Errorf("resource %v, header %q", r.resource, r.header)
	}
}

// TestWays starts jobs in all ways; each has the trace of what started it.
func TestWays(t *testing.T) {
	r := listen(t, freeAddress(t))
	s := start(t, t.TempDir(), r.address)
	program := "echo $TRACEPARENT $TRACESTATE"
	id, _ := s.submit(program)
	body, kind := form(program)
	s.call(http.MethodPut, "/api/v1/templates/t", body, "Content-Type", kind)
	other := strings.ReplaceAll(parent, spanID, "00f067aa0ba902b7")
	for name, path := range map[string][]string{
		"rerun":    {"/api/v1/jobs/" + id + "/rerun", "traceparent", parent, "tracestate", "a=b"},
		"template": {"/api/v1/templates/t/jobs", "traceparent", parent, "tracestate", "a=b"},
		// the extension of the event, not the header of who passes it on
		"event": {"/events?template=t", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "test", "ce-type", "x",
			"ce-traceparent", parent, "ce-tracestate", "a=b", "traceparent", other},
	} {
		header, _ := s.call(http.MethodPost, path[0], nil, path[1:]...)
		started := filepath.Base(header.Get("Location"))
		printed := s.printed(started)
		spans := r.wantTree(t, started)
		attempt, run := spans["attempt/1"], spans["run"]
		if want := fmt.Sprintf("00-%s-%s-01 a=b", traceID, attempt.SpanID()); printed != want {
			t.Errorf("%s: got %q, want %q", name, printed, want)
		}
		if run.ParentSpanID().String() != spanID || run.TraceState().AsRaw() != "a=b" {
			t.Errorf("%s: below %s with %s", name, run.ParentSpanID(), run.TraceState().AsRaw())
		}
		until(t, "the number of jobs by "+name, func() bool {
			return r.number("gojob_jobs_submitted_total[runtime:binary source:"+name+"]") == 1
		})
	}
}

// TestNumbers holds what is sent to the records, and to what the process shows Prometheus.
func TestNumbers(t *testing.T) {
	r := listen(t, freeAddress(t))
	s := start(t, t.TempDir(), r.address)
	s.submit("true")
	s.submit("exit 3")
	unsampled, printed := s.submit("echo $TRACEPARENT", "traceparent", parent[:53]+"00")
	if !strings.HasPrefix(printed, "00-"+traceID+"-") || !strings.HasSuffix(printed, "-00") {
		t.Errorf("a job whose trace is not sampled has TRACEPARENT %q", printed)
	}
	for series, want := range map[string]float64{
		"gojob_jobs_submitted_total[runtime:binary source:form]":                     3,
		"gojob_jobs_finished_total[phase:Succeeded reason:Completed runtime:binary]": 2,
		"gojob_jobs_finished_total[phase:Failed reason:Error runtime:binary]":        1,
		"gojob_attempts_total[reason:Completed]":                                     2,
		"gojob_attempts_total[reason:Error]":                                         1,
		instruments.QueueSeconds().Name:                                              3,
		instruments.RunSeconds().Name:                                                3,
	} {
		until(t, series, func() bool { return r.number(series) == want })
	}
	if spans := r.of(unsampled); len(spans) > 0 {
		t.Errorf("a job whose trace is not sampled has %d spans", len(spans))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range []string{instruments.QueueOldest().Name, instruments.NoticesOwed().Name,
		instruments.StorageFree().Name, instruments.CacheBytes().Name, instruments.CountedAt().Name,
		instruments.ReaperSuccess().Name, instruments.Jobs().Name + "[phase:Running]"} {
		if _, has := r.numbers[name]; !has {
			t.Errorf("no %s among %v", name, slices.Sorted(maps.Keys(r.numbers)))
		}
	}
	if diff := cmp.Diff(instruments.RunSeconds().Bounds, r.bounds[instruments.RunSeconds().Name]); diff != "" {
		t.Errorf("bounds (-want +got):\n%s", diff)
	}
	_, text := s.call(http.MethodGet, "/metrics", nil)
	for _, want := range []string{
		`gojob_jobs_submitted_total{runtime="binary",source="form"} 3`, `gojob_attempts_total{reason="Completed"} 2`,
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

// TestKilled kills the server again and again while it counts, and has the collector come only at the
// end. Each job must have been counted once, and all spans must come.
func TestKilled(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	var ids []string
	for round := range 6 {
		s := start(t, dir, address, "REAP_INTERVAL=10ms")
		for range 5 {
			id, _ := s.submit("true")
			ids = append(ids, id)
			time.Sleep(time.Duration(7*round) * time.Millisecond) // another moment for each round
		}
		s.stop()
	}
	r := listen(t, address)
	s := start(t, dir, address)
	for _, id := range ids {
		s.printed(id)
		r.wantTree(t, id)
	}
	total := func() float64 {
		return r.number("gojob_jobs_finished_total[phase:Succeeded reason:Completed runtime:binary]")
	}
	until(t, "all jobs are counted", func() bool { return total() >= float64(len(ids)) })
	s.submit("exit 1")
	until(t, "another push", func() bool {
		return r.number("gojob_jobs_finished_total[phase:Failed reason:Error runtime:binary]") == 1
	})
	submitted := r.number("gojob_jobs_submitted_total[runtime:binary source:form]")
	if total() != float64(len(ids)) || submitted != float64(len(ids)+1) {
		t.Errorf("%v jobs submitted and %v finished, want %d", submitted, total(), len(ids))
	}
}

// TestOff makes sure that without the setting nothing of all this is recorded, and that a program gets
// the trace of its request as it came.
func TestOff(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "", "OTEL_EXPORTER_OTLP_ENDPOINT=")
	if _, printed := s.submit("echo $TRACEPARENT", "traceparent", parent); printed != parent {
		t.Errorf("TRACEPARENT is %q", printed)
	}
	if _, printed := s.submit("echo x$TRACEPARENT"); printed != "x" {
		t.Errorf("without a trace TRACEPARENT is %q", printed)
	}
	for _, name := range []string{"report", "telemetry"} {
		if _, err := os.Stat(filepath.Join(dir, ".orchestrator", name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return nil //nolint:nilerr // removed meanwhile
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("timing")) || bytes.Contains(data, []byte("telemetry")) {
			t.Errorf("%s: %s", path, data)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
