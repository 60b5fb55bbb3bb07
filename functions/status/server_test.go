package status_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/version"
)

// TestServer asks the server what it is, without a token, where jobs run in pods, on this machine,
// and elsewhere.
func TestServer(t *testing.T) {
	limits := map[string]any{
		"argumentBytes": 131071.0, "argumentsAndEnvBytes": 1048576.0, "timeoutSeconds": 315360000.0, "retries": 100.0,
		"fileNameBytes": 200.0, "outputNameBytes": 1000.0,
	}
	v := version.Get()
	for name, test := range map[string]struct {
		runtimes []backend.Runtime
		want     any
		login    access.LoginSettings
		auth     map[string]any
	}{
		"pods": {
			[]backend.Runtime{{Name: "python"}}, []any{map[string]any{"name": "python"}},
			access.LoginSettings{Auth: []string{"keys", "oidc"}, Issuer: "https://id.example.com", ClientID: "cli",
				Audience: "gojob"},
			map[string]any{"modes": []any{"keys", "oidc"}, "issuer": "https://id.example.com", "clientID": "cli",
				"audience": "gojob"},
		},
		"a version": {
			[]backend.Runtime{{Name: "node", Version: "20.1.0"}},
			[]any{map[string]any{"name": "node", "version": "20.1.0"}},
			access.LoginSettings{Auth: []string{"open"}}, map[string]any{"modes": []any{"open"}},
		},
		"elsewhere": {nil, nil, access.LoginSettings{Auth: []string{"auto"}}, map[string]any{"modes": []any{"keys"}}},
	} {
		env := platform.New(map[string]string{"STORAGE_DIR": t.TempDir()}, slog.New(slog.DiscardHandler))
		env.SetKeys(token.Keys{})
		f, err := status.New(status.Deps{Env: env, Runtimes: test.runtimes, Login: test.login.Login(false)})
		if err != nil {
			t.Fatal(err)
		}
		router := api.NewRouter(env.Log)
		f.Mount(router)
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/server", nil))
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s: %v", name, w.Code, w.Body, err)
		}
		want := map[string]any{"version": v.Version, "commit": v.Commit, "date": v.Date, "go": v.Go, "limits": limits,
			"auth": test.auth}
		if test.want != nil {
			want["runtimes"] = test.want
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
