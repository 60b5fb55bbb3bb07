package logs

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/spool"
)

// TestBadQueries names the parameter at fault.
func TestBadQueries(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for query, field := range map[string]string{
		"tail=": "tail", "tail=-1": "tail", "tail=+1": "tail", "tail=0x1": "tail", "tail=1e3": "tail", "tail=All": "tail",
		"tail=99999999999": "tail", "tail=1&tail=1": "tail",
		"stream=both": "stream", "stream=": "stream", "stream=STDOUT": "stream", "stream=stdout,stderr": "stream",
		"stream=stdout&stream=stderr": "stream",
		"follow=1":                    "follow", "follow": "follow", "follow=True": "follow",
		"follow=true&follow=false": "follow",
		"from=":                    "from", "from=0,0": "from", "from=-1": "from", "from=+1": "from", "from=%200": "from",
		"from=1&from=1": "from", "from=9223372036854775807": "from", "from=0x1": "from",
		"timestamps=1": "timestamps", "timestamps": "timestamps", "timestamps=true&timestamps=true": "timestamps",
		"timestamp=true": "timestamp",
		"since=":         "since", "since=10": "since", "since=-5m": "since", "since=yesterday": "since",
		"since=2026-01-31": "since", "since=2026-01-31T08:00:00": "since",
		"since=0000-01-01T00:00:00Z": "since", "since=1h&since=2h": "since", "since=1d": "since",
		"attempt=": "attempt", "attempt=0": "attempt", "attempt=-1": "attempt", "attempt=99999": "attempt",
		"attempt=1.5": "attempt", "attempt=all": "attempt",
		"folow=true": "folow", "tail=5&Follow=true": "Follow", "=": "", "%zz": "query", "tail=5;stream=stdout": "query",
	} {
		a := w.get(query)
		var p api.Problem
		if err := json.Unmarshal([]byte(a.body), &p); err != nil {
			t.Fatalf("%q: %s %q: %v", query, a.Status, a.body, err)
		}
		if a.StatusCode != http.StatusBadRequest || a.Header.Get("Content-Type") != "application/problem+json" ||
			len(p.Errors) != 1 || p.Errors[0].Field != field || p.Errors[0].Message == "" {
			t.Errorf("%q: %s %+v, want 400 for %q", query, a.Status, p, field)
		}
	}
}

// TestTrailers looks at the headers and trailers of answers, which are the same with and without
// content.
func TestTrailers(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper()
	check := func(query, body, phase, position string) {
		t.Helper()
		a := w.read(query)
		if a.body != body || a.Trailer.Get("Job-Phase") != phase || a.Trailer.Get("Log-Position") != position {
			t.Errorf("%q: %q and %v, want %q, %s and %s", query, a.body, a.Trailer, body, phase, position)
		}
		if got := a.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("%q: Content-Type is %q", query, got)
		}
	}
	check("", "", "Pending", "0")
	w.Write(spool.Stdout, "out\n")
	w.Write(spool.Stderr, "err")
	w.Ship(s)
	if _, err := w.Ledger.StartAttempt(t.Context(), w.Index.JobID, 1, "test", nil); err != nil {
		t.Fatal(err)
	}
	check("", "out\nerr", "Running", "7")
	check("tail=0", "", "Running", "7")
	check("from=2", "t\nerr", "Running", "7")
	check("from=900", "", "Running", "900") // a log may yet become so long
	check("from=1&stream=stderr", "rr", "Running", "3")
	check("from=4&stream=stdout", "", "Running", "4")
	check("from=5&tail=1", "rr", "Running", "7")
	check("from=1&tail=1", "err", "Running", "7")
	w.end(s)
	check("from=1&stream=stderr", "rr", "Succeeded", "3")
	check("tail=1", "err", "Succeeded", "7")
	check("follow=true&tail=all", "out\nerr", "Succeeded", "7")
	check("follow=true&from=4", "err", "Succeeded", "7")
}

// TestNew makes the function from settings.
func TestNew(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"STORAGE_DIR": t.TempDir()}
	if _, err := New(platform.New(vars, slog.New(slog.DiscardHandler))); err != nil {
		t.Error(err)
	}
	vars["STORAGE_DIR"] = "/dev/null/x"
	if _, err := New(platform.New(vars, slog.New(slog.DiscardHandler))); err == nil ||
		!strings.Contains(err.Error(), "STORAGE_DIR") {
		t.Errorf("without a bucket: %v", err)
	}
}
