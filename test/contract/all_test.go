package contract

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/openapi"
)

// testAll makes users' calls to the real thing.
func testAll(t *testing.T, c *contract) {
	url := startAll(t, map[string]string{
		"MAX_CONCURRENT_JOBS": "1", "MAX_QUEUED_JOBS": "1", "MAX_UPLOAD_BYTES": "1Mi", "RETRY_BACKOFF": "10ms",
	})
	to := c.client(url, http.DefaultTransport)
	t.Run("service", func(t *testing.T) { testService(t, to) })
	t.Run("routes", func(t *testing.T) { testRoutes(t, c, to) })
	t.Run("refused submits", func(t *testing.T) { testRefusedSubmits(t, to) })
	t.Run("life of a job", func(t *testing.T) { testLife(t, to) })
	t.Run("inputs and reruns", func(t *testing.T) { testInputs(t, to) })
	t.Run("waiting", func(t *testing.T) { testWaiting(t, to) })
	t.Run("templates", func(t *testing.T) { testTemplates(t, to) })
	t.Run("events", func(t *testing.T) { testEvents(t, to) })
	t.Run("full queue", func(t *testing.T) { testQueue(t, to) })
}

func testService(t *testing.T, to *client) {
	if got := to.call(t, http.StatusOK, http.MethodGet, "/healthz"); string(got.body) != "ok\n" {
		t.Errorf("health: got %q", got.body)
	}
	got := to.call(t, http.StatusOK, http.MethodGet, "/openapi.yaml")
	if ct := got.Header.Get("Content-Type"); ct != "application/yaml" || !bytes.Equal(got.body, openapi.Document()) {
		t.Errorf("description: got %d bytes of %s, want %d of application/yaml", len(got.body), ct, len(openapi.Document()))
	}
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, "/metrics").body), "gojob_jobs_submitted_total{")
	server := as[struct {
		Version  string
		Runtimes []struct{ Name string }
	}](t, to.call(t, http.StatusOK, http.MethodGet, "/api/v1/server"))
	if last := len(server.Runtimes) - 1; server.Version == "" || last < 0 || server.Runtimes[last].Name != "binary" {
		t.Errorf("server: got %+v", server)
	}
	to.call(t, http.StatusNotFound, http.MethodGet, "/api/v1")
	to.call(t, http.StatusNotFound, http.MethodHead, "/api/v2/jobs")
	to.call(t, http.StatusMethodNotAllowed, http.MethodPut, "/api/v1/jobs")
	to.call(t, http.StatusMethodNotAllowed, http.MethodOptions, "/api/v1/jobs")
}

func testRefusedSubmits(t *testing.T, to *client) {
	ok := []field{{name: "runtime", value: "binary"}, {name: "entrypoint", value: "run"}, file("run", "#!/bin/sh\n")}
	with := func(more ...field) option { return form(t, append(ok[:len(ok):len(ok)], more...)...) }
	cut := func(r *http.Request) {
		with()(r)
		whole, _ := drain(&r.Body)
		content(r.Header.Get("Content-Type"), whole[:len(whole)-10])(r)
	}
	twice := func(r *http.Request) { header("Idempotency-Key", "a")(r); header("Idempotency-Key", "b")(r) }
	tests := map[string]struct {
		status  int
		options []option
		detail  string
	}{
		"cut off":   {http.StatusBadRequest, []option{cut}, "body"},
		"key twice": {http.StatusBadRequest, []option{with(), twice}, "Idempotency-Key"},
		"empty key": {http.StatusBadRequest, []option{with(), header("Idempotency-Key", "")}, "Idempotency-Key"},
		"no form": {http.StatusUnsupportedMediaType, []option{content("application/json", []byte("{}"))},
			"multipart/form-data"},
		"nothing": {http.StatusUnsupportedMediaType, nil, "multipart/form-data"},
		"large": {http.StatusRequestEntityTooLarge, []option{with(file("big", strings.Repeat("x", 2<<20)))},
			"MAX_UPLOAD_BYTES"},
		"no fields":     {http.StatusUnprocessableEntity, []option{form(t, file("run", ""))}, "runtime: is required"},
		"no files":      {http.StatusUnprocessableEntity, []option{form(t, ok[:2]...)}, "files"},
		"unknown field": {http.StatusUnprocessableEntity, []option{with(field{name: "ttl", value: "1"})}, "ttl"},
		"field twice":   {http.StatusUnprocessableEntity, []option{with(ok[0])}, "more than once"},
		"reserved name": {http.StatusUnprocessableEntity, []option{with(file("results", ""))}, "reserved"},
		"file twice":    {http.StatusUnprocessableEntity, []option{with(ok[2])}, "two files"},
		"runtime not there": {http.StatusUnprocessableEntity,
			[]option{form(t, field{name: "runtime", value: "cobol"}, ok[1], ok[2])}, "cobol"},
		"image without pods": {http.StatusUnprocessableEntity, []option{with(field{name: "image", value: "alpine"})},
			"image"},
		"queue without pods": {http.StatusUnprocessableEntity, []option{with(field{name: "queue", value: "team-a"})},
			"queue"},
		"arguments no JSON": {http.StatusUnprocessableEntity, []option{with(field{name: "args", value: "a b"})}, "args"},
		"several things": {http.StatusUnprocessableEntity,
			[]option{with(field{name: "cpu", value: "half"}, field{name: "retries", value: "-1"})}, "retries"},
		"reserved variable": {http.StatusUnprocessableEntity, []option{with(field{name: "env", value: `{"PATH":"/"}`})},
			`env["PATH"]`},
		"by another site": {http.StatusForbidden, []option{with(), header("Origin", "https://elsewhere.example")},
			"another site"},
		"entrypoint not sent": {http.StatusUnprocessableEntity,
			[]option{form(t, ok[0], field{name: "entrypoint", value: "go"}, ok[2])}, "entrypoint"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := to.call(t, test.status, http.MethodPost, "/api/v1/jobs", test.options...)
			contains(t, problem(t, got), test.detail)
		})
	}
}

func testLife(t *testing.T, to *client) {
	key := header("Idempotency-Key", "life of a job")
	request := script(t, `echo "args $*"; echo "mode $MODE" >&2
mkdir "$OUTPUT_DIR/report"; printf 'a,b\n1,2\n' > "$OUTPUT_DIR/report/table.csv"
ln -s /etc/hosts "$OUTPUT_DIR/link"
exit 3`,
		field{name: "args", value: `["one"]`}, field{name: "arg", value: "two"}, field{name: "arg", value: "--three=3"},
		field{name: "env", value: `{"MODE":"full"}`},
		field{name: "labels", value: `{"team":"data","example.com/stage":"test"}`},
		field{name: "cpu", value: "500m"}, field{name: "memory", value: "256Mi"}, field{name: "timeoutSeconds", value: "300"},
		field{name: "ttlSecondsAfterFinished", value: "3600"}, field{name: "retries", value: "1"}, file("data.json", "{}"),
	)
	s := to.submit(t, request, key)
	log := to.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs?follow=true&tail=all", s.bearer())
	contains(t, string(log.body), "args one two --three=3\n")
	contains(t, string(log.body), "mode full\n")
	if phase := log.Trailer.Get("Job-Phase"); phase != string(job.Failed) {
		t.Errorf("the log ends in phase %q, want Failed", phase)
	}
	over := to.status(t, s)
	if over.Phase != job.Failed || over.Reason != job.ReasonError || over.ExitCode == nil || *over.ExitCode != 3 ||
		len(over.Attempts) != 2 {
		t.Errorf("got %s (%s: %s) after %d attempts, want Failed (Error) with code 3 after 2", over.Phase, over.Reason,
			over.Message, len(over.Attempts))
	}
	if o := over.Outputs; o == nil || o.Count != 3 || o.OmittedCount != 1 {
		t.Errorf("outputs: got %+v, want 3 and one omitted", o)
	}
	if again := to.submit(t, request, key); again != s {
		t.Errorf("the same request gave job %s, want %s", again.JobID, s.JobID)
	}
	got := to.call(t, http.StatusUnprocessableEntity, http.MethodPost, "/api/v1/jobs", script(t, "true"), key)
	contains(t, problem(t, got), "Idempotency-Key")

	t.Run("log", func(t *testing.T) { testLog(t, to, s, log) })
	t.Run("outputs", func(t *testing.T) { testOutputs(t, to, s) })
	t.Run("uploaded file", func(t *testing.T) { testDownload(t, to, s.artifact("data.json"), s.bearer(), "{}") })
	t.Run("index", func(t *testing.T) { to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), s.bearer()) })
	t.Run("list", func(t *testing.T) { testList(t, to, s) })
	t.Run("removal", func(t *testing.T) {
		to.call(t, http.StatusConflict, http.MethodPost, s.path()+"/cancel", s.bearer())
		to.call(t, http.StatusNoContent, http.MethodDelete, s.path(), s.bearer())
		to.call(t, http.StatusNotFound, http.MethodDelete, s.path(), s.bearer())
		to.call(t, http.StatusNotFound, http.MethodGet, s.path(), s.bearer())
		to.call(t, http.StatusNotFound, http.MethodGet, s.output("stdout.log"), s.bearer())
		to.call(t, http.StatusGone, http.MethodPost, "/api/v1/jobs", request, key)
	})
}

func testLog(t *testing.T, to *client, s submitted, whole *reply) {
	get := func(query string) string {
		return string(to.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs"+query, s.bearer()).body)
	}
	if got := get(""); got != string(whole.body) {
		t.Errorf("got %q, want %q as it was while the job ran", got, whole.body)
	}
	if got := get("?tail=1&stream=stderr"); got != "mode full\n" {
		t.Errorf("last line of stderr: got %q", got)
	}
	if got := get("?from=" + whole.Trailer.Get("Log-Position")); got != "" {
		t.Errorf("behind the end: got %q", got)
	}
	if got := get("?attempt=2&timestamps=true&since=1h"); !strings.HasSuffix(got, " mode full\n") {
		t.Errorf("the second attempt with its times: %q", got)
	}
	events := to.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs?tail=all", s.bearer(),
		header("Accept", "text/event-stream"))
	for _, want := range []string{"event: stdout\n", "event: attempt\n", `"attempt":2`, "event: end\n",
		`"phase":"Failed"`} {
		contains(t, string(events.body), want)
	}
	last := strings.TrimSpace(whole.Trailer.Get("Log-Position")) + "-end"
	to.call(t, http.StatusNoContent, http.MethodGet, s.path()+"/logs", s.bearer(), header("Accept", "text/event-stream"),
		header("Last-Event-ID", last))
	for _, query := range []string{"tail=-1", "stream=stdin", "follow=yes", "from=1,1", "since=x", "attempt=0",
		"timestamps=1", "lines=1", "tail=1&tail=2", "%zz"} {
		to.call(t, http.StatusBadRequest, http.MethodGet, s.path()+"/logs?"+query, s.bearer())
	}
}

func testOutputs(t *testing.T, to *client, s submitted) {
	list := as[struct{ Items []job.File }](t, to.call(t, http.StatusOK, http.MethodGet, s.outputs(), s.bearer()))
	names := make([]string, len(list.Items))
	for i, f := range list.Items {
		names[i] = f.Name
	}
	const want = "report/table.csv stderr.log stdout.log"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("outputs: got %s, want %s", got, want)
	}
	all := s.outputs()
	for _, format := range []string{"zip", "tar.gz"} {
		got := to.call(t, http.StatusOK, http.MethodGet, all+"?format="+format, s.bearer())
		to.call(t, http.StatusOK, http.MethodHead, all+"?format="+format, s.bearer())
		contains(t, got.Header.Get("Content-Disposition"), "run-"+string(s.JobID)+"."+format)
		if format != "zip" {
			continue
		}
		archive, err := zip.NewReader(bytes.NewReader(got.body), int64(len(got.body)))
		if err != nil || len(archive.File) != len(names) {
			t.Errorf("archive: %d files, %v", len(archive.File), err)
		}
	}
	to.call(t, http.StatusOK, http.MethodHead, all, s.bearer())
	to.call(t, http.StatusBadRequest, http.MethodGet, all+"?format=rar", s.bearer())
	to.call(t, http.StatusBadRequest, http.MethodGet, all+"?archive=zip", s.bearer())
	testDownload(t, to, s.output("report/table.csv"), s.bearer(), "a,b\n1,2\n")

	// A description knows no parameters with slashes in them, so this call is not checked.
	plain := &client{base: to.base, http: http.DefaultClient}
	if got := plain.call(t, http.StatusOK, http.MethodGet, all+"/report/table.csv", s.bearer()); string(
		got.body) != "a,b\n1,2\n" {
		t.Errorf("with a slash in its path: got %q", got.body)
	}
}

// testDownload asks for a file in every way there is.
func testDownload(t *testing.T, to *client, path string, token option, want string) {
	t.Helper()
	whole := to.call(t, http.StatusOK, http.MethodGet, path, token)
	if string(whole.body) != want {
		t.Errorf("got %q, want %q", whole.body, want)
	}
	etag := whole.Header.Get("ETag")
	for _, test := range []struct {
		status int
		header string
		value  string
		want   string
	}{
		{http.StatusOK, "If-None-Match", `"other"`, want},
		{http.StatusOK, "If-Match", etag, want},
		{http.StatusPartialContent, "Range", "bytes=1-", want[1:]},
		{http.StatusPartialContent, "Range", "bytes=-1", want[len(want)-1:]},
		{http.StatusNotModified, "If-None-Match", etag, ""},
		{http.StatusPreconditionFailed, "If-Match", `"other"`, ""},
		{http.StatusRequestedRangeNotSatisfiable, "Range", fmt.Sprintf("bytes=%d-", len(want)), ""},
	} {
		got := to.call(t, test.status, http.MethodGet, path, token, header(test.header, test.value))
		if test.status < http.StatusBadRequest && string(got.body) != test.want {
			t.Errorf("%s: %s: got %q, want %q", test.header, test.value, got.body, test.want)
		}
		if head := to.call(t, test.status, http.MethodHead, path, token, header(test.header, test.value)); len(
			head.body) > 0 {
			t.Errorf("HEAD has a body: %q", head.body)
		}
	}
	parts := to.call(t, http.StatusPartialContent, http.MethodGet, path, token, header("Range", "bytes=0-0,-1"))
	contains(t, parts.Header.Get("Content-Type"), "multipart/byteranges")
	to.call(t, http.StatusPartialContent, http.MethodGet, path, token, header("Range", "bytes=1-"),
		header("If-Range", etag))
	to.call(t, http.StatusOK, http.MethodGet, path, token, header("Range", "bytes=1-"), header("If-Range", `"other"`))
}

type page struct {
	Items         []job.Summary
	NextPageToken string
}

func testList(t *testing.T, to *client, s submitted) {
	other := to.submit(t, script(t, "true"))
	to.call(t, http.StatusOK, http.MethodGet, other.path()+"/logs?follow=true", other.bearer())
	get := func(query string) page {
		return as[page](t, to.call(t, http.StatusOK, http.MethodGet, "/api/v1/jobs?"+query))
	}
	eventually(t, "the job is among those that succeeded", func() bool { // its mark is made after its record
		list := get("phase=Succeeded&limit=1").Items
		return len(list) == 1 && list[0].JobID == other.JobID
	})
	first := get("limit=1")
	if len(first.Items) != 1 || first.Items[0].JobID != other.JobID {
		t.Fatalf("first page: got %+v, want the newest job", first)
	}
	if next := get("limit=500&pageToken=" + first.NextPageToken); len(next.Items) == 0 || next.Items[0].JobID != s.JobID {
		t.Errorf("next page: got %+v, want the job before", next)
	}
	for query, want := range map[string]job.ID{
		"phase=Succeeded&limit=1":                        other.JobID,
		"phase=Failed&limit=1":                           s.JobID,
		"label=team%3Ddata":                              s.JobID,
		"label=team=data&label=example.com%2Fstage=test": s.JobID,
	} {
		if got := get(query); len(got.Items) != 1 || got.Items[0].JobID != want {
			t.Errorf("%s: got %+v, want %s", query, got, want)
		}
	}
	for _, query := range []string{
		"limit=0", "limit=501", "limit=x", "pageToken=1", "phase=Done", "label=team", "label=-%3D-",
		"label=a%3D1&label=a%3D2", "state=Failed",
		"limit=1&limit=2", "%zz",
	} {
		to.call(t, http.StatusBadRequest, http.MethodGet, "/api/v1/jobs?"+query)
	}
}

func testQueue(t *testing.T, to *client) {
	running := to.submit(t, script(t, "echo started; exec sleep 600"))
	eventually(t, "the job runs", func() bool { return to.status(t, running).Phase == job.Running })
	to.call(t, http.StatusConflict, http.MethodGet, running.outputs()+"?format=zip", running.bearer())
	to.call(t, http.StatusConflict, http.MethodHead, running.outputs()+"?format=zip", running.bearer())
	to.call(t, http.StatusConflict, http.MethodGet, running.outputs(), running.bearer())
	eventually(t, "its first line can be read", func() bool {
		log := to.call(t, http.StatusOK, http.MethodGet, running.path()+"/logs", running.bearer())
		return string(log.body) == "started\n" && log.Trailer.Get("Job-Phase") == string(job.Running)
	})

	// A job is in the queue a moment after its submit was answered, so another may still slip in.
	var waiting []submitted
	eventually(t, "the queue is full", func() bool {
		got, err := to.try(t.Context(), http.MethodPost, "/api/v1/jobs", script(t, "true"))
		if err != nil {
			t.Fatal(err)
		}
		if got.StatusCode == http.StatusCreated {
			waiting = append(waiting, as[submitted](t, got))
		}
		return got.StatusCode == http.StatusServiceUnavailable
	})
	to.put(t, "full", script(t, "true"))
	to.call(t, http.StatusServiceUnavailable, http.MethodPost, "/api/v1/templates/full/jobs")
	to.call(t, http.StatusServiceUnavailable, http.MethodPost, running.path()+"/rerun")
	to.call(t, http.StatusServiceUnavailable, http.MethodPost, "/events?template=full",
		cloudEvent("full", "com.example.full", nil))
	for _, s := range waiting {
		got := to.status(t, s)
		if got.Phase != job.Pending || got.Reason != job.ReasonQueued || got.Queue == nil || got.Queue.Position == 0 {
			t.Errorf("waiting job: got %s (%s), %+v", got.Phase, got.Reason, got.Queue)
		}
	}
	for _, s := range append(waiting, running, running) {
		got := as[job.Status](t, to.call(t, http.StatusOK, http.MethodPost, s.path()+"/cancel", s.bearer()))
		if got.Phase != job.Cancelled {
			t.Errorf("cancelled job: got %s (%s)", got.Phase, got.Reason)
		}
	}
}

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
