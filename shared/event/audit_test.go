package event_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/audit"
	"go-job-orchestrator/shared/event"
)

func cancelled() audit.Record {
	return audit.Record{
		Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Owner: "ann", Role: access.User, Via: "key abcdefghij",
		Method: "POST", Route: "/api/v1/jobs/:id/cancel", Job: string(id), Status: 200, From: "192.0.2.7",
	}
}

// TestAuditEvent opens the events of a process with a sink, and reads what the sink gets of a record.
func TestAuditEvent(t *testing.T) {
	received := make(chan *http.Request, 1)
	bodies := make(chan map[string]any, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		received <- r
		bodies <- body
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	env := newEnv(map[string]string{"STORAGE_DIR": t.TempDir(), "K_SINK": server.URL,
		"ORCH_BASE_URL": "http://orchestrator"})
	if _, err := event.Open(env, nil); err != nil {
		t.Fatal(err)
	}
	env.AuditSink.Offer(t.Context(), cancelled())
	env.Drain()
	got := <-received
	for name, want := range map[string]string{
		"Ce-Type": "io.github.go-job-orchestrator.audit.v1", "Ce-Source": "http://orchestrator", "Ce-Subject": string(id),
		"Ce-Time": "2026-03-01T12:00:00Z", "Content-Type": "application/json",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if len(got.Header.Get("Ce-Id")) < 20 {
		t.Errorf("Ce-Id is %q; two records must not have one ID", got.Header.Get("Ce-Id"))
	}
	want := map[string]any{"time": "2026-03-01T12:00:00Z", "owner": "ann", "role": "user", "via": "key abcdefghij",
		"method": "POST", "route": "/api/v1/jobs/:id/cancel", "jobID": string(id), "status": 200.0, "from": "192.0.2.7"}
	if diff := cmp.Diff(want, <-bodies); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	without := newEnv(map[string]string{"STORAGE_DIR": t.TempDir()})
	if _, err := event.Open(without, nil); err != nil || without.AuditSink != nil {
		t.Errorf("without K_SINK: %v %v", without.AuditSink, err)
	}
}

// TestAuditNeverWaits has a sink that answers nothing. Records are taken at once, only so many are
// kept, and those that are left out are in the log.
func TestAuditNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		goOn := make(chan struct{})
		sent := make(chan string, 10_000)
		sink := event.NewAuditSink(sinkFunc(func(_ context.Context, e cloudevent.Event) error {
			<-goOn
			sent <- e.ID()
			return nil
		}), "http://orchestrator", slog.New(slog.NewTextHandler(&logged, nil)))
		begun := time.Now()
		for range 10_000 {
			sink.Offer(t.Context(), cancelled())
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("the calls waited for %s", waited)
		}
		left := strings.Count(logged.String(), "audit event not sent")
		if left < 5_000 || left > 9_000 {
			t.Errorf("%d of 10,000 records were left out; want what does not fit into 16 MiB", left)
		}
		drained := make(chan struct{})
		go func() { sink.Drain(); close(drained) }()
		synctest.Wait()
		close(goOn)
		<-drained
		count, ids := len(sent), map[string]bool{}
		for range count {
			ids[<-sent] = true
		}
		if count == 0 || len(ids) != count {
			t.Errorf("%d were sent, with %d IDs", count, len(ids))
		}
		logged.Reset()
		sink.Offer(t.Context(), cancelled())
		synctest.Wait()
		if len(sent) != 0 || !strings.Contains(logged.String(), "audit event not sent") {
			t.Errorf("after the drain: %d sent, %s", len(sent), logged.String())
		}
	})
}
