package logs

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// TestStopAtEnd has the server stop and the job end at the same moment, behind the follower's last
// look. An answer that says that the job is over must have all of its log. The follower learns of one
// or the other first, so this is done several times.
func TestStopAtEnd(t *testing.T) {
	t.Parallel()
	for range 8 {
		stopAtEnd(t)
	}
}

func stopAtEnd(t *testing.T) {
	t.Helper()
	w := newFixture(t)
	s := w.shipper()
	w.Write(spool.Stdout, "one\n")
	w.Ship(s)
	stopped := make(chan struct{})
	w.intercept().live = func(call int) {
		if call > 1 {
			return
		}
		w.Write(spool.Stdout, "two\n")
		w.end(s)
		go func() { defer close(stopped); w.stop() }()
		w.until("the server stops", func() bool { // before the reader goes on
			_, err := http.Get(w.url + "/healthz")
			return err != nil
		})
	}
	a := w.read("follow=true&tail=all")
	<-stopped
	if a.phase().Terminal() && a.body != "one\ntwo\n" {
		t.Errorf("the answer says that the job %s, and has only %q of its log", a.phase(), a.body)
	}
	if want := int64(len(a.body)); a.position() != want {
		t.Errorf("Log-Position is %d, want %d", a.position(), want)
	}
}

// TestEndsWhileRead has the job end while its log is read. Whoever reads on from Log-Position until
// the job is over must get all.
func TestEndsWhileRead(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper()
	w.Write(spool.Stdout, "one\n")
	w.Ship(s)
	w.intercept().over = func(call int) {
		if call == 1 {
			w.Write(spool.Stdout, "two\n")
			w.Keep()
			w.keepOrder()
			w.End(w.Index, job.Succeeded)
		}
	}
	got := ""
	for query := "tail=all"; ; {
		a := w.read(query)
		got += a.body
		if a.phase().Terminal() {
			break
		}
		query = "from=" + a.Trailer.Get("Log-Position")
	}
	if got != "one\ntwo\n" {
		t.Errorf("a client that reads until the job is over got %q", got)
	}
}

// TestRemovedBeforeRead has the job removed between the look at its records and the reading of its
// log.
func TestRemovedBeforeRead(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Write(spool.Stdout, "one\n")
	w.end(w.shipper())
	w.intercept().over = func(call int) {
		if call == 1 {
			if err := w.Ledger.Remove(context.Background(), w.Index.JobID); err != nil {
				t.Error(err)
			}
		}
	}
	if a := w.get("tail=all"); a.StatusCode != http.StatusNotFound {
		t.Errorf("%s %q, want 404", a.Status, a.body)
	}
}

// TestRemovedWhileRead has the job removed when a part of its log is on its way. The part must not
// look like the whole.
func TestRemovedWhileRead(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper()
	line := strings.Repeat("x", 1023) + "\n"
	for i := range 4 { // more than what the connection holds
		w.Write(streams()[i%2], strings.Repeat(line, 8<<10))
		w.Ship(s)
	}
	w.end(s)
	resp, err := w.open(t.Context(), "tail=all")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Ledger.Remove(t.Context(), w.Index.JobID); err != nil {
		t.Fatal(err)
	}
	if a := finish(resp); a.err == nil && len(a.body) < 32<<20-1 {
		t.Errorf("an answer of %d bytes looks whole", len(a.body))
	}
}
