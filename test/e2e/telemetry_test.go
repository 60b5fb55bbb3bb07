//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// collecting is a server that takes what is sent by OTLP, and prints it: the path, the body in
// hexadecimal digits, and the texts in it.
const collecting = `import http.server, re
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        texts = b" ".join(re.findall(rb"[ -~]{4,}", body)).decode()
        print(self.path, body.hex(), texts, flush=True)
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("", 8080), H).serve_forever()`

// TestTelemetry has a collector in the cluster get the numbers about jobs and the spans of one, whose
// pods are gone by then, from the reaper.
func TestTelemetry(t *testing.T) {
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	s := installed(t)
	serve(t, "collector", restricted(map[string]any{
		"image": "python:3.13-slim", "command": []string{"python3", "-c", collecting},
		"readinessProbe": map[string]any{"tcpSocket": map[string]any{"port": 8080}, "periodSeconds": 1},
	}))
	point := func(address string) { // also in the end, when the test's context is over
		for _, args := range [][]string{
			{"patch", "configmap", "job-orchestrator", "-n", namespace, "--type=merge", "-p",
				fmt.Sprintf(`{"data":{"OTEL_EXPORTER_OTLP_ENDPOINT":%q}}`, address)},
			{"delete", "pod", "-n", namespace, "-l", "serving.knative.dev/service"}, // which read it when they start
		} {
			if out, err := command("kubectl", args...); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
	t.Cleanup(func() { point("") })
	point("http://collector." + namespace + ".svc.cluster.local")
	if err := s.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := script("python", "trace.py", `import os; print(os.environ["TRACEPARENT"])`)
	f.header = http.Header{"Traceparent": {"00-" + traceID + "-b7ad6b7169203331-01"}}
	j := s.submit(t, f)
	j.ends("Succeeded", "Completed")
	found := strings.Split(strings.TrimSpace(j.logs("tail=all")), "-")
	if len(found) != 4 || found[1] != traceID {
		t.Fatalf("TRACEPARENT is %q", found)
	}
	said := ""
	until(t, 7*time.Minute, "the collector has the spans of the job, and numbers", func() bool {
		said = kube(t, "logs", "collector", "-n", namespace)
		return strings.Contains(said, j.ID) && strings.Contains(said, "gojob_jobs_submitted_total")
	})
	for _, want := range []string{
		traceID, found[2], "/v1/traces", "/v1/metrics", "RUN python", "fetch", "exec", "collect", "gojob_jobs_finished_total",
		"gojob_job_queue_seconds", "gojob_reaper_last_success_timestamp_seconds",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the collector has not got %s", want)
		}
	}
}
