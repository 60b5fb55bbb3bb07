package contract

import (
	"net/http"
	"testing"

	"go-job-orchestrator/shared/job"
)

// testTelemetry has jobs of a server that sends spans: their records say more.
func testTelemetry(t *testing.T, c *contract) {
	url := startAll(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "REAP_INTERVAL": "1h"})
	to := c.client(url, http.DefaultTransport)
	s := as[submitted](t, to.call(t, http.StatusCreated, http.MethodPost, "/api/v1/jobs", script(t, "true"),
		header("Prefer", "wait=60")))
	index := as[job.Index](t, to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), s.bearer()))
	if index.Telemetry == nil || index.Telemetry.Source != job.ByForm || index.Telemetry.AcceptedAt.IsZero() {
		t.Errorf("index: %+v", index.Telemetry)
	}
	status := to.status(t, s)
	if status.Phase != job.Succeeded || len(status.Attempts) != 1 || status.Attempts[0].Timing == nil {
		t.Fatalf("got %+v", status)
	}
	timing := status.Attempts[0].Timing
	if timing.ExecFinishedAt.Before(timing.ExecStartedAt) || timing.FetchStartedAt.IsZero() || timing.CollectFinishedAt.IsZero() {
		t.Errorf("timing: %+v", timing)
	}
}
