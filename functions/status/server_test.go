package status_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
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

// TestProfiles demands that callers see the profiles that they may use, and others see none. Wrong
// credentials are like none.
func TestProfiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(path, []byte(`profiles:
  gpu: {description: One GPU, defaults: {cpu: 4}, max: {memory: 64Gi}}
  operators: {roles: [admin]}
  small: {default: true}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := platform.New(map[string]string{"STORAGE_DIR": t.TempDir(), "PROFILES_FILE": path},
		slog.New(slog.DiscardHandler))
	env.SetKeys(token.Keys{})
	profiles, err := profile.Open(env)
	if err != nil {
		t.Fatal(err)
	}
	f, err := status.New(status.Deps{Env: env, Profiles: profiles})
	if err != nil {
		t.Fatal(err)
	}
	gpu := `{"name":"gpu","description":"One GPU","defaults":{"cpu":"4"},"max":{"memory":"64Gi"}}`
	small := `{"name":"small","default":true}`
	for role, want := range map[access.Role]string{
		access.User: "[" + gpu + "," + small + "]", access.Admin: "[" + gpu + `,{"name":"operators"},` + small + "]",
		access.Read: "", "": "", "wrong": "",
	} {
		router := api.NewRouter(env.Log).Guarded(guard.New(guard.Deps{Now: time.Now,
			Identify: func(r *http.Request) (*http.Request, error) {
				switch role {
				case "":
					return r, nil
				case "wrong":
					return nil, job.ErrUnauthorized
				}
				return r.WithContext(access.With(r.Context(), access.Caller{Owner: "ann", Role: role})), nil
			}}))
		f.Mount(router)
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/server", nil))
		var got struct{ Profiles json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%q: %d %s: %v", role, w.Code, w.Body, err)
		}
		if diff := cmp.Diff(want, string(got.Profiles)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", role, diff)
		}
	}
}
