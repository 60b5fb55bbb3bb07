package deadletter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"go-job-orchestrator/functions/deadletter"
	"go-job-orchestrator/shared/api"
	ourevent "go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/settings"
)

const id = job.ID("fe5df73070535f3b1d397b4f85a949ff")

// serve returns the URL of the function, and its log, which is complete when it has answered.
func serve(t *testing.T) (url string, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	env := settings.New(nil, slog.New(slog.NewJSONHandler(log, nil)))
	f, err := deadletter.New(env)
	if err != nil {
		t.Fatal(err)
	}
	router := api.NewRouter(env.Log)
	f.Mount(router)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	return server.URL + "/", log
}

func undeliverable() event.Event {
	e := ourevent.New(ourevent.Submitted, "http://jobs.example", id, time.Now())
	e.SetExtension("knativeerrordest", "http://launch.job-orchestrator.svc.cluster.local/")
	e.SetExtension("knativeerrorcode", 503)
	e.SetExtension("knativeerrordata", `{"status":503}`)
	return e
}

func TestEventIsLogged(t *testing.T) {
	for name, encode := range map[string]func(context.Context) context.Context{
		"binary": binding.WithForceBinary, "structured": binding.WithForceStructured,
	} {
		t.Run(name, func(t *testing.T) {
			url, log := serve(t)
			p, err := cehttp.New(cehttp.WithTarget(url))
			if err != nil {
				t.Fatal(err)
			}
			c, err := client.New(p)
			if err != nil {
				t.Fatal(err)
			}
			e := undeliverable()
			result := c.Send(encode(t.Context()), e)
			var status *cehttp.Result
			if !protocol.ResultAs(result, &status) || status.StatusCode != http.StatusNoContent {
				t.Errorf("got %v, want 204: another answer is delivered again", result)
			}
			var line map[string]any
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("log %s: %v", log, err)
			}
			for key, want := range map[string]string{
				"level": "ERROR", "type": ourevent.Submitted, "id": e.ID(), "source": "http://jobs.example", "job": string(id),
				"knativeerrordest": "http://launch.job-orchestrator.svc.cluster.local/", "knativeerrorcode": "503",
				"knativeerrordata": `{"status":503}`,
			} {
				if got := fmt.Sprint(line[key]); got != want {
					t.Errorf("%s: got %q, want %q", key, got, want)
				}
			}
		})
	}
}

// TestWhateverComes is answered 204 with nothing in it, and leaves one line of bounded length.
func TestWhateverComes(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		body   string
	}{
		"nothing":       {nil, ""},
		"no event":      {http.Header{"Content-Type": {"text/plain"}}, "hello\nlevel=INFO"},
		"half an event": {http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"x"}}, ""},
		"broken JSON":   {http.Header{"Content-Type": {"application/cloudevents+json"}}, "{"},
		"foreign event": {http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"x"}, "Ce-Type": {"y"}, "Ce-Source": {"z"}},
			"data"},
		"long attribute": {http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"x"}, "Ce-Type": {"y"}, "Ce-Source": {"z"},
			"Ce-Knativeerrordata": {strings.Repeat("€", 5000)}}, ""},
		"too large to keep": {http.Header{"Content-Type": {"application/cloudevents+json"}},
			`{"specversion":"1.0","data":"` + strings.Repeat("x", 2<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			url, log := serve(t)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			for key, values := range test.header {
				r.Header[key] = values
			}
			got, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			if body, err := io.ReadAll(got.Body); got.StatusCode != http.StatusNoContent || len(body) != 0 || err != nil {
				t.Errorf("got %s, %q, %v", got.Status, body, err)
			}
			if lines := strings.Count(log.String(), "\n"); lines != 1 || log.Len() > 8<<10 {
				t.Errorf("log: %d lines, %d bytes: %.300s", lines, log.Len(), log)
			}
		})
	}
}
