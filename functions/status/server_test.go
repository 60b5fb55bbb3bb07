package status_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/version"
)

// TestServer asks the server what it is, without a token, where jobs run in pods, on this machine, and elsewhere.
func TestServer(t *testing.T) {
	limits := map[string]any{
		"argumentBytes": 131071.0, "argumentsAndEnvBytes": 1048576.0, "timeoutSeconds": 315360000.0, "retries": 100.0,
		"fileNameBytes": 200.0, "outputNameBytes": 1000.0,
	}
	v := version.Get()
	for name, test := range map[string]struct {
		runtimes []status.Runtime
		want     any
	}{
		"pods": {status.PodRuntimes(), []any{
			map[string]any{"name": "python"}, map[string]any{"name": "node"},
			map[string]any{"name": "java"}, map[string]any{"name": "binary"},
		}},
		"a machine without interpreters": {
			status.MachineRuntimes(runtimes.Detect(t.Context(), "", "")), []any{map[string]any{"name": "binary"}},
		},
		"a version": {
			[]status.Runtime{{Name: "node", Version: "20.1.0"}},
			[]any{map[string]any{"name": "node", "version": "20.1.0"}},
		},
		"elsewhere": {nil, nil},
	} {
		f := status.New(nil, nil, nil, slog.New(slog.DiscardHandler))
		f.SetRuntimes(test.runtimes)
		router := api.NewRouter(slog.New(slog.DiscardHandler))
		f.Mount(router)
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/server", nil))
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s: %v", name, w.Code, w.Body, err)
		}
		want := map[string]any{"version": v.Version, "commit": v.Commit, "date": v.Date, "go": v.Go, "limits": limits}
		if test.want != nil {
			want["runtimes"] = test.want
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
